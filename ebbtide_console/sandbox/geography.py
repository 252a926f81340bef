"""Where the sandbox's cloud is: one account, and two regions, the second of which can stand by for the first."""

ACCOUNT = "123456789012"
FIRST = "eu-west-1"
SECOND = "eu-central-1"

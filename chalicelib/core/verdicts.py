"""The words a recovery ends with, or stands by."""

# A drill or restore: booted and answered; identical; identical as far as could be told without root; and not.
PROVEN = "proven"
CONTENT_ONLY = "content only"
AS_RECORDED = "as recorded"
FAILED = "failed"
VERDICTS = (PROVEN, CONTENT_ONLY, AS_RECORDED, "unproven", "different", FAILED)

# An opening: its machine serves, or has served. It proves nothing.
OPENED = "opened"

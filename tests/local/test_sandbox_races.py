"""Conditional writes of the sandbox, when many want to be first."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from botocore.exceptions import ClientError

from ebbtide_console.sandbox.geography import FIRST
from tests.local.sandbox_parts import a_sandbox, a_template, client, launch

RIVALS = 12


def winners(attempt: Callable[[int], object]) -> int:
    """How many of the rivals were not refused by the condition."""

    def won(rival: int) -> bool:
        try:
            attempt(rival)
        except ClientError as error:
            assert error.response["Error"]["Code"] in ("ConditionalCheckFailedException", "PreconditionFailed")
            return False
        return True

    with ThreadPoolExecutor(RIVALS) as pool:
        return sum(pool.map(won, range(RIVALS)))


def test_one_of_many_conditional_puts_into_a_table_wins(tmp_path: Path) -> None:
    with a_sandbox(tmp_path) as sandbox:
        table = client("dynamodb", sandbox.endpoint)
        table.create_table(
            TableName="ebbtide",
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        )

        won = winners(
            lambda rival: table.put_item(
                TableName="ebbtide",
                Item={"pk": {"S": "run"}, "by": {"N": str(rival)}},
                ConditionExpression="attribute_not_exists(pk)",
            )
        )

        assert won == 1


def test_one_of_many_puts_of_a_new_key_wins(tmp_path: Path) -> None:
    with a_sandbox(tmp_path) as sandbox:
        s3 = client("s3", sandbox.endpoint)
        s3.create_bucket(Bucket="archive", CreateBucketConfiguration={"LocationConstraint": FIRST})

        won = winners(
            lambda rival: s3.put_object(Bucket="archive", Key="report", Body=str(rival).encode(), IfNoneMatch="*")
        )

        assert won == 1


def test_many_launches_with_one_token_make_one_instance(tmp_path: Path) -> None:
    with a_sandbox(tmp_path) as sandbox:
        ec2 = client("ec2", sandbox.endpoint)
        template = a_template(ec2)

        with ThreadPoolExecutor(RIVALS) as pool:
            launched = set(pool.map(lambda _: launch(ec2, template, "token"), range(RIVALS)))

        assert len(launched) == 1

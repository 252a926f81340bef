"""Metrics in CloudWatch's embedded format: each is a line of the function's log, and no call."""

from collections.abc import Iterable

from aws_lambda_powertools.metrics import MetricUnit, single_metric

from chalicelib.core.measures import Measure

_NAMESPACE = "Ebbtide"


def emit(measures: Iterable[Measure]) -> None:
    """Powertools adds the dimension `service`, which the template sets to the name of the stack."""
    for measure in measures:
        unit = MetricUnit(measure.unit.value)
        with single_metric(name=measure.name.value, unit=unit, value=measure.value, namespace=_NAMESPACE) as metric:
            for dimension, value in measure.dimensions.items():
                metric.add_dimension(name=dimension, value=value)

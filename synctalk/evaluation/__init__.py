"""How good an avatar is: the metrics and protocols of the paper (section IV) and their report."""

from synctalk.evaluation.contact import contact_sheet
from synctalk.evaluation.machine import Machine, describe_machine
from synctalk.evaluation.run import EvaluationReport, evaluate

__all__ = ["EvaluationReport", "Machine", "contact_sheet", "describe_machine", "evaluate"]

"""Why an audit could not run. What an audit finds is a `Finding`, not an error.

DoBMIError
  AuditError
    DatabaseNotReadable
    DatabaseChanged
    NotAStateFile
    StateOfAnother
"""

from __future__ import annotations

from dobmi.errors import DoBMIError
from dobmi.i18n import N_


class AuditError(DoBMIError):
    code = "AUDIT"
    message = N_("The audit could not run.")


class DatabaseNotReadable(AuditError):
    code = "AUDIT-DATABASE"
    message = N_("{database} cannot be audited: {detail}.")
    next_step = N_("Give a file made by `dobmi central export`, or the URL of a replica.")


class DatabaseChanged(AuditError):
    code = "AUDIT-CHANGED"
    message = N_("{database} was written to while it was audited.")
    next_step = N_("Audit an export of it: dobmi central export FILE")


class NotAStateFile(AuditError):
    code = "AUDIT-STATE"
    message = N_("{path} is no state of an audit: {detail}.")
    next_step = N_("Audit without --since; that makes a new state.")


class StateOfAnother(AuditError):
    code = "AUDIT-STATE-OTHER"
    message = N_("{path} is the state of another ledger: till {terminal_id} has another key there.")
    next_step = N_("Give the state of this ledger's last audit, or audit without --since.")

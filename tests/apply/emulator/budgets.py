"""Budgets: tags and subscribers, which moto forgets."""

from __future__ import annotations

import json

import moto.budgets.urls
from moto.budgets.responses import BudgetsResponse

#: By the budget's name.
_tags: dict[str, list[dict[str, str]]] = {}


def install() -> None:
    """Put these beside moto's own."""
    moto.budgets.urls.url_paths = {"{0}/$": _Budgets.dispatch}


class _Budgets(BudgetsResponse):
    def create_budget(self) -> str:
        _tags[self._get_param("Budget")["BudgetName"]] = self._get_param("ResourceTags", [])
        return super().create_budget()

    def list_tags_for_resource(self) -> str:
        name = self._get_param("ResourceARN").rpartition("/")[2]
        return json.dumps({"ResourceTags": _tags[name]})

    def describe_subscribers_for_notification(self) -> str:
        budget = self.backend.budgets[self._get_param("AccountId")][self._get_param("BudgetName")]
        wanted = self._get_param("Notification")["NotificationType"]
        subscribers = [
            subscriber
            for notification in budget.notifications
            if notification.details["NotificationType"] == wanted
            for subscriber in notification.subscribers
        ]
        return json.dumps({"Subscribers": subscribers})

"""Notifications as centres send them: right, odd and hostile ones."""

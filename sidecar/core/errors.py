"""What can be wrong, named for whose fault it is."""


class SidecarError(Exception):
    """The root of everything this project raises on purpose. Its text never holds content or a credential."""


class OutOfOrder(SidecarError):
    """Envoy's fault, or ours: a message that cannot follow the ones before it."""


class UnfitProxy(SidecarError):
    """The proxy's fault: it is configured to send what cannot be judged."""


class BadSetting(SidecarError):
    """The operator's fault: one line that names the setting, its value and what is allowed."""


class JournalUnavailable(SidecarError):
    """The machine's fault: the journal cannot be opened, read or migrated."""

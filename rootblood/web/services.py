"""What stands behind the HTTP door: the services that its parts are made of."""

from dataclasses import dataclass

from rootblood.services.accounts import Accounts
from rootblood.services.administration import Administration
from rootblood.services.audit import Audit
from rootblood.services.bans import Bans
from rootblood.services.environments import Environments
from rootblood.services.exports import Exports
from rootblood.services.homes import HomeSizes
from rootblood.services.imports import Imports
from rootblood.services.links import Links
from rootblood.services.logins import Logins
from rootblood.services.outlooks import Outlooks
from rootblood.services.penalties import Penalties
from rootblood.services.presence import Presence
from rootblood.services.takeout import Takeout
from rootblood.services.tokens import Tokens
from rootblood.services.unpackings import Unpackings
from rootblood.services.visits import Visits


@dataclass(frozen=True, kw_only=True)
class Services:
    """One of each, the same for every part of the door."""

    accounts: Accounts
    """Who may come in."""

    environments: Environments
    """Where they go."""

    homes: HomeSizes
    """How large what they have there is."""

    outlooks: Outlooks
    """How long environments run on."""

    imports: Imports
    """Take tarballs into them."""

    unpackings: Unpackings
    """Unpack those."""

    logins: Logins
    """Who has come in."""

    links: Links
    """Let a browser in, once each."""

    tokens: Tokens
    """What programs show in place of a login."""

    exports: Exports
    """Homes as tarballs."""

    penalties: Penalties
    """From where too many wrong passwords came."""

    bans: Bans
    """From where nobody may come."""

    administration: Administration
    """What administrators do by the API."""

    takeout: Takeout
    """Accounts as tarballs."""

    visits: Visits
    """Remember the last login."""

    audit: Audit
    """What was done to accounts."""

    presence: Presence
    """Who is attached, at which door."""

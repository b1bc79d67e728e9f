"""What every group of settings is: frozen, and without any key that it does not know."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(gt=0)]


class Group(BaseModel):
    """Base of the groups."""

    model_config = ConfigDict(frozen=True, extra="forbid")

"""Places in the bodies of requests."""

from __future__ import annotations


class BodyPlace(str):
    """Where something is in a body, in words.

    Names of inputs, states and features are anybody's, with brackets and dots in them: what the words are of, only
    anyone who made them knows.

    Attributes:
        member: of the body.
        depth: how many lists it is in.
        num_levels: how many lists and objects.
    """

    __slots__ = ("depth", "member", "num_levels")
    member: str
    depth: int
    num_levels: int

    def __new__(cls, member: str, words: str | None = None, depth: int = 0, num_levels: int = 0) -> BodyPlace:
        """A member of a body, or what is in it."""
        place = super().__new__(cls, member if words is None else words)
        place.member, place.depth, place.num_levels = member, depth, num_levels
        return place

    @property
    def is_member(self) -> bool:
        """Whether it is all of a member."""
        return not self.num_levels

    def element(self, index: int) -> BodyPlace:
        """An element of the list that is here."""
        return BodyPlace(self.member, f"{self}[{index}]", self.depth + 1, self.num_levels + 1)

    def value(self, name: str) -> BodyPlace:
        """A member of the object that is here."""
        return BodyPlace(self.member, f"{self}.{name}", self.depth, self.num_levels + 1)

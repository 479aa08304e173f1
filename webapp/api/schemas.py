"""What the API takes and gives, as models: they check requests and make the OpenAPI description."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    StrictStr,
    model_validator,
)

from webapp import accounts, rules
from webapp.models import (
    ABOUT_CHARACTERS,
    COMMENT_CHARACTERS,
    POST_CHARACTERS,
    TITLE_CHARACTERS,
    USERNAME_CHARACTERS,
)
from webapp.records import TOKEN_NAME_CHARACTERS
from webapp.search import MAX_QUERY_CHARACTERS

_PRINTABLE = r"^[^\x00-\x1f\x7f]*$"
LARGEST_CURSOR = 999_999_999


def _length(least: int, most: int, **schema: Any) -> Any:
    """Return what a schema can say of a text; the rule beside it says the rest."""
    return Field(json_schema_extra={"minLength": least, "maxLength": most, **schema})


Username = Annotated[
    StrictStr,
    AfterValidator(accounts.available_username),
    _length(
        3,
        USERNAME_CHARACTERS,
        pattern=f"^[A-Za-z][A-Za-z0-9_-]{{2,{USERNAME_CHARACTERS - 1}}}$",
    ),
]
Password = Annotated[
    StrictStr,
    AfterValidator(rules.password),
    _length(rules.PASSWORD_MIN_CHARACTERS, rules.PASSWORD_MAX_BYTES),
]
Title = Annotated[
    StrictStr, AfterValidator(rules.title), _length(1, TITLE_CHARACTERS, pattern=_PRINTABLE)
]
PostBody = Annotated[StrictStr, AfterValidator(rules.post_body), _length(1, POST_CHARACTERS)]
CommentBody = Annotated[
    StrictStr, AfterValidator(rules.comment_body), _length(1, COMMENT_CHARACTERS)
]
About = Annotated[StrictStr, AfterValidator(rules.about), _length(0, ABOUT_CHARACTERS)]
TokenName = Annotated[
    StrictStr,
    AfterValidator(rules.token_name),
    _length(1, TOKEN_NAME_CHARACTERS, pattern=_PRINTABLE),
]
Cursor = Annotated[int, Field(ge=0, le=LARGEST_CURSOR, description="From `next_cursor`.")]
Moment = Annotated[str, Field(json_schema_extra={"format": "date-time"})]

_NOT_SENT: Any = None
"""The default of a field that may be left out, and not be null."""


# --- What is taken --------------------------------------------------------------------------


class Credentials(BaseModel):
    """An account's name and password."""

    username: StrictStr
    password: StrictStr


class NewAccount(BaseModel):
    """A new account."""

    username: Username
    password: Password


class NewPassword(BaseModel):
    """Another password for the account that asks."""

    current_password: StrictStr
    password: Password


class NewPost(BaseModel):
    """A post; `body` is Markdown."""

    title: Title
    body: PostBody


class PostChange(BaseModel):
    """What is to change of a post, and the `version` that was read, to refuse a conflict."""

    title: Title = _NOT_SENT
    body: PostBody = _NOT_SENT
    version: StrictInt = Field(default=_NOT_SENT, ge=1)

    model_config = ConfigDict(
        json_schema_extra={"anyOf": [{"required": ["title"]}, {"required": ["body"]}]}
    )

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.model_fields_set & {"title", "body"}:
            raise ValueError("Send at least one of title, body.")
        return self


class NewComment(BaseModel):
    """A comment; `body` is plain text."""

    body: CommentBody


class Markdown(BaseModel):
    """A text to be shown as it would be in a post."""

    body: PostBody


class ProfileChange(BaseModel):
    """What a person says of themselves."""

    about: About


class NewApiToken(BaseModel):
    """What a new API token is for."""

    name: TokenName


class AccountChange(BaseModel):
    """What an administrator changes of an account."""

    disabled: StrictBool = _NOT_SENT
    role: Literal["user", "admin"] = _NOT_SENT

    model_config = ConfigDict(
        json_schema_extra={"anyOf": [{"required": ["disabled"]}, {"required": ["role"]}]}
    )

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.model_fields_set & {"disabled", "role"}:
            raise ValueError("Send at least one of disabled, role.")
        return self


class ListQuery(BaseModel):
    """A page of a list."""

    cursor: Cursor | None = None
    limit: int = Field(default=50, ge=1, le=100)


class PostsQuery(ListQuery):
    """A page of posts, of everybody's or of one author's."""

    limit: int = Field(default=20, ge=1, le=100)
    author: str | None = None


class SearchQuery(ListQuery):
    """Words to look for: all of them, the last one as a beginning."""

    q: str = Field(min_length=1, max_length=MAX_QUERY_CHARACTERS)
    limit: int = Field(default=20, ge=1, le=100)


class AccountsQuery(ListQuery):
    """A page of accounts, of all or of those whose name begins with `q`."""

    q: str | None = Field(default=None, max_length=USERNAME_CHARACTERS)


class IdempotencyHeader(BaseModel):
    """What lets a request be sent twice and be done once."""

    key: str | None = Field(
        default=None, alias="Idempotency-Key", min_length=1, max_length=255, pattern=r"^[ -~]+$"
    )


class IfMatchHeader(BaseModel):
    """What makes a change depend on what was read."""

    tags: str | None = Field(default=None, alias="If-Match", description="The `ETag` of the GET.")


class IfNoneMatchHeader(BaseModel):
    """What makes an answer 304 if nothing has changed."""

    tags: str | None = Field(default=None, alias="If-None-Match", description="A known `ETag`.")


# --- What is given ----------------------------------------------------------------------------


class Error(BaseModel):
    """What is answered to a request that fails."""

    message: str
    success: Literal[False]
    code: int
    request_id: str


class User(BaseModel):
    """An account."""

    id: int
    username: str
    about: str
    role: str
    disabled: bool
    created_at: Moment


class Profile(BaseModel):
    """What everybody may know of an account."""

    username: str
    about: str
    created_at: Moment


class Post(BaseModel):
    """A post; `excerpt` is its beginning as plain text."""

    id: int
    title: str
    body: str
    excerpt: str
    author: str
    comment_count: int
    version: int
    created_at: Moment
    updated_at: Moment


class Comment(BaseModel):
    """A comment."""

    id: int
    post_id: int
    body: str
    author: str
    created_at: Moment


class Attachment(BaseModel):
    """A file of a post; `url` is where its bytes are."""

    id: int
    post_id: int
    name: str
    media_type: str
    size_bytes: int
    url: str
    created_at: Moment


class Notification(BaseModel):
    """That somebody commented on one's post, or mentioned one."""

    id: int
    kind: Literal["comment", "mention"]
    actor: str
    post_id: int
    post_title: str
    comment_id: int | None
    created_at: Moment
    read_at: Moment | None


class Session(BaseModel):
    """A browser that is logged in."""

    id: int
    browser: str
    address: str
    created_at: Moment
    seen_at: Moment
    current: bool


class ApiToken(BaseModel):
    """An API token, without the token."""

    id: int
    name: str
    created_at: Moment
    expires_at: Moment


class MadeApiToken(ApiToken):
    """A new API token; `token` is shown only this once."""

    token: str


class AccessToken(BaseModel):
    """A token for some time (RFC 6749, section 5.1); `expires_in` is seconds."""

    access_token: str
    token_type: Literal["Bearer"]
    expires_in: int


class Tokens(AccessToken):
    """An access token, and a token for getting more of them."""

    refresh_token: str


class Html(BaseModel):
    """HTML that is safe in a page."""

    html: str


class Summary(BaseModel):
    """How much there is on the site."""

    name: str
    users: int
    posts: int


class Posts(BaseModel):
    """A page of posts."""

    posts: list[Post]
    next_cursor: str | None


class Comments(BaseModel):
    """A page of comments."""

    comments: list[Comment]
    next_cursor: str | None


class Accounts(BaseModel):
    """A page of accounts."""

    users: list[User]
    next_cursor: str | None


class Attachments(BaseModel):
    """A post's attachments."""

    attachments: list[Attachment]


class Notifications(BaseModel):
    """A page of notifications, newest first, and how many are unread (100 at most)."""

    notifications: list[Notification]
    unread: int
    next_cursor: str | None


class Sessions(BaseModel):
    """The browsers in which the account is logged in."""

    sessions: list[Session]


class ApiTokens(BaseModel):
    """The account's API tokens."""

    tokens: list[ApiToken]


class Found(BaseModel):
    """What a search found: posts, newest first, and at most ten people."""

    posts: list[Post]
    people: list[Profile]
    next_cursor: str | None

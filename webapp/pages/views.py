"""The views for reading.

The pages that update themselves read the live cursor before their data, so that nothing which
is committed in between can be missed: at worst an event tells of a post that the page has.
Whoever only reads gets no cookie: nothing here touches the session of a person without account.
So they all get the same pages, which the server keeps until what they show has changed.
"""

from __future__ import annotations

from flask import (
    Blueprint,
    g,
    make_response,
    redirect,
    render_template,
    request,
    session,
    url_for,
)
from markupsafe import Markup
from sqlalchemy.orm import undefer
from werkzeug.exceptions import NotFound
from werkzeug.wrappers import Response

from webapp import avatars, posts, rules, search
from webapp.accounts import find_by_name
from webapp.channels import TIMELINE, post_channel, profile_channel
from webapp.database import find
from webapp.extensions import db, live
from webapp.models import Comment, Post, User
from webapp.pages.forms import CommentForm
from webapp.paging import cursor_argument, page_of

POSTS_ON_A_PAGE = 20
COMMENTS_ON_A_PAGE = 100
PEOPLE_ON_A_PAGE = 10
_AVATAR_CACHE = "public, max-age=604800, immutable"

blueprint = Blueprint("pages", __name__)

Answer = str | Response | tuple[str, int]


@blueprint.get("/")
@live.cached(channels=TIMELINE)
def timeline() -> Answer:
    """Show everybody's posts, newest first; the first page updates itself."""
    cursor = cursor_argument("before")
    live_cursor = live.cursor() if cursor is None else None
    shown = posts.all_posts().options(posts.AS_CARDS)
    page = page_of(shown, Post.id, limit=POSTS_ON_A_PAGE, cursor=cursor)
    following = _following(TIMELINE, live_cursor, "timeline")
    return _for_all(render_template("pages/timeline.html", page=page, **following))


@blueprint.get("/<username>")
@live.cached(channels=lambda username: (TIMELINE, profile_channel(username)))
def profile(username: str) -> Answer:
    """Show one person's posts, newest first; the first page updates itself."""
    user = _user_or_404(username)
    if user.username != username:
        return redirect(url_for(".profile", username=user.username), 301)
    cursor = cursor_argument("before")
    live_cursor = live.cursor() if cursor is None else None
    shown = posts.all_posts(user).options(posts.AS_CARDS)
    page = page_of(shown, Post.id, limit=POSTS_ON_A_PAGE, cursor=cursor)
    following = _following(TIMELINE, live_cursor, "profile")
    return _for_all(render_template("pages/profile.html", user=user, page=page, **following))


@blueprint.get("/user/<name>")
def user(name: str) -> Answer:
    """Redirect to the person's page under its shorter address."""
    return redirect(url_for(".profile", username=_user_or_404(name).username), 301)


@blueprint.get("/post/<int:post_id>")
@live.cached(channels="post:{post_id}")
def post(post_id: int) -> Answer:
    """Show one post with its comments; the newest page of them updates itself."""
    return _for_all(post_page(post_id))


@blueprint.get("/search")
def search_page() -> Answer:
    """Show the posts that have all the words of `q`, and the people of that name."""
    query = request.args.get("q", "")[: search.MAX_QUERY_CHARACTERS].strip()
    statement, people = search.posts_with(query), search.people_named(query)
    page = None
    if statement is not None:
        cursor = cursor_argument("before")
        shown = statement.options(posts.AS_CARDS)
        page = page_of(shown, Post.id, limit=POSTS_ON_A_PAGE, cursor=cursor)
    found = [] if people is None else list(db.session.scalars(people.limit(PEOPLE_ON_A_PAGE)))
    return render_template("pages/search.html", query=query, page=page, people=found)


@blueprint.get("/chat")
def chat() -> Answer:
    """Show the chat: what is said while one is there. It needs JavaScript and a live server."""
    following = _following("chat", live.cursor(), "chat")
    return render_template("pages/chat.html", **following)


@blueprint.get("/avatars/<name>.svg")
def avatar(name: str) -> Response:
    """Show the picture that belongs to a name, whether somebody has it or not."""
    if not rules.is_username(name):
        raise NotFound
    response = Response(avatars.svg(name), mimetype="image/svg+xml")
    response.headers["Cache-Control"] = _AVATAR_CACHE
    return response


def post_page(post_id: int, form: CommentForm | None = None) -> str:
    """Return the page of a post; the form for a comment is given if it was refused."""
    cursor = cursor_argument("before")
    live_cursor = live.cursor() if cursor is None else None
    shown = find(Post, post_id, undefer(Post.body_html))
    page = page_of(posts.comments_of(shown), Comment.id, limit=COMMENTS_ON_A_PAGE, cursor=cursor)
    # A form begins a session, which holds its token.
    if form is None and g.user is not None:
        form = CommentForm()
    may_change = g.user is not None and g.user.may_change(shown)
    return render_template(
        "pages/post.html",
        post=shown,
        # Made safe when it was written.
        body_html=Markup(shown.body_html),
        page=page,
        comments=page.items[::-1],
        form=form,
        may_change=may_change,
        **_following(post_channel(post_id), live_cursor, "post"),
    )


def _for_all(page: str) -> Response:
    """Return a page which may be kept if nobody in particular has asked for it."""
    response = make_response(page)
    if g.user is None and not session:
        response.headers["Cache-Control"] = "no-cache"
    return response


def _following(channel: str, cursor: str | None, kind: str) -> dict[str, object]:
    """Return what a template needs of a page that updates itself from `cursor` on."""
    return {
        "live_channel": channel,
        "live_cursor": cursor,
        "live_key": live.page_key(),
        "page_kind": kind,
    }


def _user_or_404(name: str) -> User:
    found = find_by_name(name)
    if found is None:
        raise NotFound(f"There is nobody with the name {name}.")
    return found

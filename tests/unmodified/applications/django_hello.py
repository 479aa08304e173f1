"""Django in one file: a view, a stream and an upload."""

from __future__ import annotations

from collections.abc import Iterator

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path, reverse

settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="only for this test")


def hello(request: HttpRequest, name: str) -> HttpResponse:
    return HttpResponse(f"hello {name}, at {reverse('hello', args=[name])}")


def stream(request: HttpRequest) -> StreamingHttpResponse:
    def parts() -> Iterator[str]:
        yield from ("one ", "two ", "three")

    return StreamingHttpResponse(parts())


def upload(request: HttpRequest) -> JsonResponse:
    return JsonResponse({name: file.size for name, file in request.FILES.items()})


urlpatterns = [
    path("hello/<name>/", hello, name="hello"),
    path("stream", stream),
    path("upload", upload),
]
application = get_wsgi_application()

"""Somebody who sends a form with a file (RFC 7578)."""

from __future__ import annotations

from locust import FastHttpUser, constant, task

FILE_BYTES = 256 * 1024
_BOUNDARY = "flasknado-loadtest"
_FORM = (
    (
        f"--{_BOUNDARY}\r\n"
        'Content-Disposition: form-data; name="file"; filename="photograph.jpg"\r\n'
        "Content-Type: image/jpeg\r\n\r\n"
    ).encode()
    + b"\xff" * FILE_BYTES
    + f"\r\n--{_BOUNDARY}--\r\n".encode()
)


class Uploader(FastHttpUser):
    wait_time = constant(0)

    @task
    def upload(self) -> None:
        headers = {"Content-Type": f"multipart/form-data; boundary={_BOUNDARY}"}
        with self.client.post(
            "/loadtest/upload", data=_FORM, headers=headers, catch_response=True
        ) as response:
            if response.status_code == 200 and response.json() != {"bytes": FILE_BYTES}:
                response.failure(f"another file arrived: {response.text}")

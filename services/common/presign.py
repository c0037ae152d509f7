"""A presigned PUT that admits exactly one object of exactly one size and type.

Signature Version 4 in the query string with ``content-length`` and ``content-type`` among the
signed headers, which minio-py's own presigner leaves out: the server must refuse a body of any
other length. (A POST policy could give a range, but ``rclone serve s3`` takes none.)
https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html
"""

from __future__ import annotations

import hashlib
import hmac
from datetime import datetime, timedelta
from urllib.parse import quote, urlsplit


def presigned_put(
    url: str,
    *,
    region: str,
    access_key: str,
    secret_key: str,
    now: datetime,
    expires: timedelta,
    headers: dict[str, str],
) -> str:
    """``url`` with a signature by which anyone may PUT to it until ``now + expires``.

    Args:
        url: of the object, without a query.
        region: of the bucket.
        access_key: of whoever lends the right.
        secret_key: signs.
        now: with time zone UTC.
        expires: at most 7 days.
        headers: lower-case names and the values that the request must have.
    """
    parts = urlsplit(url)
    signed = dict(sorted({"host": parts.netloc, **headers}.items()))
    names = ";".join(signed)
    stamp, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
    scope = f"{day}/{region}/s3/aws4_request"
    query = "&".join(
        f"{name}={quote(value, safe='-_.~')}"
        for name, value in (
            ("X-Amz-Algorithm", "AWS4-HMAC-SHA256"),
            ("X-Amz-Credential", f"{access_key}/{scope}"),
            ("X-Amz-Date", stamp),
            ("X-Amz-Expires", str(int(expires.total_seconds()))),
            ("X-Amz-SignedHeaders", names),
        )
    )
    lines = "".join(f"{name}:{value}\n" for name, value in signed.items())
    request = f"PUT\n{parts.path}\n{query}\n{lines}\n{names}\nUNSIGNED-PAYLOAD"
    digest = hashlib.sha256(request.encode()).hexdigest()
    key = f"AWS4{secret_key}".encode()
    for step in (day, region, "s3", "aws4_request"):
        key = hmac.digest(key, step.encode(), "sha256")
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{digest}"
    return f"{url}?{query}&X-Amz-Signature={hmac.new(key, text.encode(), 'sha256').hexdigest()}"

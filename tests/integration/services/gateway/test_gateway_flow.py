"""From upload to signed URL, as a user does it."""

from __future__ import annotations

from collections.abc import Callable

from gateway_suite import WEB, House, Tenant


def test_an_upload_takes_exactly_the_announced_bytes(tenant: Tenant) -> None:
    body = {"filename": "../é v.mp4", "content_type": "video/mp4", "size_bytes": 3, "kind": "video"}
    ticket = tenant.post("/v1/uploads", body)
    path = f"/v1/uploads/{ticket['id']}"
    assert ticket["state"] == "awaiting"
    longer = {**ticket["headers"], "content-length": "4"}
    assert WEB.put(ticket["url"], headers=longer, content=b"abcd").status_code >= 400
    other = {**ticket["headers"], "content-type": "text/html"}
    assert WEB.put(ticket["url"], headers=other, content=b"abc").status_code >= 400
    assert tenant.get(path)["state"] == "awaiting"
    WEB.put(ticket["url"], headers=ticket["headers"], content=b"abc").raise_for_status()
    assert tenant.get(path)["state"] == "ready"


def test_a_video_becomes_an_avatar_and_its_progress_is_seen(tenant: Tenant) -> None:
    avatar = tenant.new_avatar()
    assert avatar["state"] == "queued"
    seen = [event.data for event in tenant.events(f"/v1/avatars/{avatar['id']}") if event.data]
    states = list(dict.fromkeys(each["state"] for each in seen))
    assert states[-1] == "ready"
    assert "training" in states
    ready = seen[-1]
    assert ready["version"] == 1
    assert ready["fraction"] == 1
    assert ready["metrics"] == {"psnr_db": 40.0}
    assert ready["quality"]["verdicts"][0]["name"] == "face_size"
    assert [job["type"] for job in ready["jobs"]] == ["preprocess", "train"]
    assert WEB.get(ready["preview_url"]).content == b"jpg"
    assert WEB.get(ready["quality_picture_url"]).content == b"png"
    fractions = [each["fraction"] for each in seen]
    assert fractions == sorted(fractions)
    assert tenant.get(f"/v1/uploads/{ready['video']}")["sha256"]


def test_the_report_on_the_footage_is_shown_while_the_job_runs(tenant: Tenant) -> None:
    avatar = tenant.new_avatar(hold="preprocess")
    path = f"/v1/avatars/{avatar['id']}"
    assert tenant.until(path, lambda it: it["quality"] is not None)["state"] == "preprocessing"
    tenant.delete(path)


def test_refused_footage_fails_with_its_reason_and_report(tenant: Tenant) -> None:
    avatar = tenant.new_avatar(refuse=True)
    path = f"/v1/avatars/{avatar['id']}"
    failed = tenant.until(path, lambda it: it["state"] == "failed")
    assert failed["error"]["code"] == "NO_FACE"
    assert failed["error"]["remedy"] == "Face the camera."
    assert failed["quality"]["level"] == "refuse"
    assert tenant.refused("POST", f"{path}/retry")[1]["code"] == "FOOTAGE_REFUSED"


def test_after_a_failure_of_ours_a_retry_goes_on_with_the_same_job(tenant: Tenant) -> None:
    avatar = tenant.new_avatar(fail_until=3)  # a job is dead after two attempts
    path = f"/v1/avatars/{avatar['id']}"
    failed = tenant.until(path, lambda it: it["state"] == "failed")
    assert failed["error"]["code"] == "LOSS_NOT_FINITE"
    assert tenant.get(f"/v1/jobs/{failed['jobs'][1]['id']}")["state"] == "dead"
    again = tenant.post(f"{path}/retry")
    assert again["state"] == "training"
    ready = tenant.until(path, lambda it: it["state"] == "ready")
    assert ready["jobs"] == failed["jobs"]
    kinds = [event["type"] for event in tenant.get("/v1/events")["data"]]
    assert kinds == ["avatar.ready", "avatar.failed"]


def test_a_dub_ends_with_a_signed_url(tenant: Tenant) -> None:
    avatar = tenant.ready_avatar()
    body = {"avatar": avatar["id"], "audio": tenant.upload("audio"), "text": "hello"}
    dub = tenant.post("/v1/dubs", body)
    done = tenant.until(f"/v1/dubs/{dub['id']}", lambda it: it["state"] == "succeeded")
    answer = WEB.get(done["video_url"])
    assert answer.content == b"a video"
    assert ".mp4" in answer.headers["content-disposition"]
    assert done["duration_s"] == 1.0
    assert WEB.get(done["captions_vtt_url"]).content == b"WEBVTT"
    assert done["captions_srt_url"] is None
    job = tenant.get(f"/v1/jobs/{done['job']}")
    assert (job["state"], job["resource"]) == ("succeeded", f"dubs/{dub['id']}")
    assert WEB.get(done["video_url"].partition("&X-Amz-Signature")[0]).status_code in (400, 403)


def test_a_dub_before_an_image_or_before_nothing(tenant: Tenant) -> None:
    avatar = tenant.ready_avatar()
    body = {"avatar": avatar["id"], "audio": tenant.upload("audio")}
    wrong = {**body, "background": {"kind": "image", "image": body["audio"]}}
    error = tenant.refused("POST", "/v1/dubs", wrong)[1]
    assert (error["param"], error["code"]) == ("background.image", "UPLOAD_OF_WRONG_KIND")
    image = tenant.upload("image")
    dub = tenant.post("/v1/dubs", {**body, "background": {"kind": "image", "image": image}})
    free = {**body, "background": {"kind": "transparent"}, "format": "webm"}
    other = tenant.post("/v1/dubs", free)
    path = f"/v1/dubs/{dub['id']}"
    tenant.until(path, lambda it: it["state"] == "succeeded")
    done = tenant.until(f"/v1/dubs/{other['id']}", lambda it: it["state"] == "succeeded")
    assert ".webm" in WEB.get(done["video_url"]).headers["content-disposition"]
    assert tenant.delete(path)["erased"]["uploads"] == 1  # the audio is the other's too
    again = {**body, "background": {"kind": "image", "image": image}}
    assert tenant.refused("POST", "/v1/dubs", again)[1]["code"] == "UPLOAD_NOT_READY"


def test_a_dub_says_with_which_expression(tenant: Tenant) -> None:
    avatar = tenant.ready_avatar()
    body = {"avatar": avatar["id"], "audio": tenant.upload("audio")}
    assert tenant.post("/v1/dubs", body)["expression"] == "auto"
    calm = {**body, "expression": "calm", "blinks_per_minute": 12}
    dub = tenant.post("/v1/dubs", calm)
    assert dub["expression"] == "calm"
    tenant.until(f"/v1/dubs/{dub['id']}", lambda it: it["state"] == "succeeded")


def test_a_cancelled_job_cancels_its_dub_and_can_be_queued_again(
    tenant: Tenant, house: House
) -> None:
    avatar = tenant.ready_avatar()
    dub = tenant.new_dub(avatar, hold="dub", go=f"tests/{tenant.name}/go")
    path, job = f"/v1/dubs/{dub['id']}", f"/v1/jobs/{dub['job']}"
    tenant.until(path, lambda it: it["state"] == "running" and it["fraction"] > 0)
    tenant.post(f"{job}/cancel")
    assert tenant.until(path, lambda it: it["state"] == "cancelled")["error"]["code"] == "CANCELLED"
    house.store.put_bytes(f"tests/{tenant.name}/go", b"")
    tenant.post(f"{job}/requeue")
    tenant.until(path, lambda it: it["state"] == "succeeded")
    assert tenant.refused("POST", f"{job}/requeue")[1]["code"] == "JOB_NOT_REQUEUEABLE"


def test_jobs_are_listed_newest_first_with_filters_and_pages(tenant: Tenant) -> None:
    avatar = tenant.ready_avatar()
    dub = tenant.new_dub(avatar)
    tenant.until(f"/v1/dubs/{dub['id']}", lambda it: it["state"] == "succeeded")
    jobs = tenant.get("/v1/jobs")["data"]
    assert [job["type"] for job in jobs] == ["dub", "train", "preprocess"]
    assert [job["type"] for job in tenant.get("/v1/jobs", type="train")["data"]] == ["train"]
    assert tenant.get("/v1/jobs", state="dead")["data"] == []
    first = tenant.get("/v1/jobs", limit=2)
    rest = tenant.get("/v1/jobs", limit=2, token=first["next_token"])
    paged = [job["id"] for job in (*first["data"], *rest["data"])]
    assert paged == [job["id"] for job in jobs]
    assert rest["next_token"] is None
    lines = tenant.get(f"/v1/jobs/{jobs[1]['id']}/log")["lines"]
    assert any("train" in line for line in lines)


def test_tenants_never_see_each_other(new_tenant: Callable[[], Tenant]) -> None:
    ann, bob = new_tenant(), new_tenant()
    avatar = ann.ready_avatar()
    dub = ann.new_dub(avatar)
    ann.until(f"/v1/dubs/{dub['id']}", lambda it: it["state"] == "succeeded")
    ids = {
        "avatars": avatar["id"], "dubs": dub["id"], "jobs": dub["job"],
        "uploads": avatar["video"], "consents": avatar["consent"],
    }  # fmt: skip
    for collection, its in ids.items():
        assert bob.refused("GET", f"/v1/{collection}/{its}")[0] == 404
        if collection != "uploads":
            assert bob.get(f"/v1/{collection}")["data"] == []
    assert bob.get("/v1/events")["data"] == []
    for path in (f"avatars/{avatar['id']}", f"dubs/{dub['id']}"):
        assert bob.refused("DELETE", f"/v1/{path}")[0] == 404
        assert bob.refused("GET", f"/v1/{path}/events")[0] == 404
    assert bob.refused("POST", f"/v1/jobs/{dub['job']}/cancel")[0] == 404
    mine = {"avatar": avatar["id"], "audio": bob.upload("audio")}
    assert bob.refused("POST", "/v1/dubs", mine)[1]["param"] == "avatar"
    stolen = {"name": "x", "video": avatar["video"], "consent": bob.consent()}
    assert bob.refused("POST", "/v1/avatars", stolen)[1]["param"] == "video"

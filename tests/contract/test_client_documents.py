"""The unmodified client puts documents in and out, reads them, and searches their chunks."""

from __future__ import annotations

import io

import pytest
from h2ogpte import errors
from h2ogpte.errors import InvalidArgumentError, ObjectNotFoundError, UnauthorizedError

from h2ogpte_migration.sandbox.dispatch import perform
from h2ogpte_migration.sandbox.passages import dimensions, embed
from h2ogpte_migration.sandbox.state import DEFAULT_MODELS

ForbiddenError = getattr(errors, "ForbiddenError", UnauthorizedError)  # new in 1.7
M3, LARGE = DEFAULT_MODELS[:2]


def names(collection):
    return sorted(m.document.name for m in collection.documents)


@pytest.fixture
def home(world):
    return world.add_collection("anna", "Papers", documents=["a.pdf", "b.pdf", "c.pdf"])


@pytest.fixture
def other(world):
    return world.add_collection("anna", "Other", documents=0)


def test_document_is_put_into_one_more_collection(anna, world, home, other):
    line = home.documents[1]
    line.metadata = {"k": "v"}
    job = anna.import_document_into_collection(other.id, line.document.id)
    assert (job.kind, job.completed) == ("ImportDocumentIntoCollectionJob", True)
    assert [m.document for m in other.documents] == [line.document]
    assert other.documents[0].metadata == {}
    anna.import_document_into_collection(other.id, line.document.id, copy_document=True)
    assert other.documents[1].document.id != line.document.id
    assert names(other) == ["b.pdf", "b.pdf"]


def test_document_is_inserted_at_once_by_the_rest_operation(world, home, other):
    line = home.documents[0]
    line.metadata = {"k": "v"}
    path = f"/api/v1/collections/{other.id}/documents/{line.document.id}"

    def put(username):
        return perform(
            world,
            "PUT",
            path,
            secret="sk-sandbox-" + username,
            query={"preserve_metadata": "true"},
        ).status

    assert put("bertil") == 403
    assert put("anna") == 204
    assert [m.metadata for m in other.documents] == [{"k": "v"}]
    assert perform(world, "DELETE", path, secret="sk-sandbox-anna").status == 204
    assert perform(world, "DELETE", path, secret="sk-sandbox-anna").status == 400
    assert (names(other), len(home.documents)) == ([], 3)


def test_right_to_upload_is_enough_to_insert_but_the_document_must_be_readable(
    connect, world, home, other
):
    bertil = connect("bertil")
    mine = world.add_collection("bertil", "Mine", documents=["mine.pdf"])
    other.shares["bertil"] = ["read", "chat"]
    with pytest.raises(ForbiddenError):
        bertil.import_document_into_collection(other.id, mine.documents[0].document.id)
    other.shares["bertil"] = ["read", "upload"]
    bertil.import_document_into_collection(other.id, mine.documents[0].document.id)
    assert names(other) == ["mine.pdf"]
    with pytest.raises(ForbiddenError):
        bertil.import_document_into_collection(other.id, home.documents[0].document.id)


def test_documents_are_removed_from_one_collection_or_deleted(anna, connect, world, home, other):
    first, second = (m.document.id for m in home.documents[:2])
    anna.import_document_into_collection(other.id, first)
    assert anna.delete_documents_from_collection(home.id, [first]).completed
    assert (names(home), names(other)) == (["b.pdf", "c.pdf"], ["a.pdf"])
    home.shares["bertil"] = None
    with pytest.raises(ForbiddenError):
        connect("bertil").delete_documents([second])
    assert anna.delete_documents([first, second]).completed
    assert (names(home), names(other)) == (["c.pdf"], [])
    with pytest.raises(ObjectNotFoundError):
        anna.get_document(first)


def test_document_is_read_renamed_and_described(anna, connect, world, home):
    line = home.documents[0]
    line.metadata = {"k": "v"}
    found = anna.get_document(line.document.id)
    assert (found.name, found.status) == ("a.pdf", "completed")
    anna.update_document_name(line.document.id, "z.pdf")
    anna.update_document_metadata(line.document.id, {"new": 1})
    listed = anna.list_documents_in_collection(home.id, 0, 9)
    assert [d.metadata_dict for d in listed if d.name == "z.pdf"] == [{"new": 1}]
    with pytest.raises(ForbiddenError):
        connect("bertil").get_document(line.document.id)


def test_tags_stay_with_the_document_and_not_with_its_copy(anna, world, home, other):
    document = home.documents[0].document
    assert anna.tag_document(document.id, "red")
    anna.import_document_into_collection(other.id, document.id)
    anna.import_document_into_collection(other.id, document.id, copy_document=True)
    assert [m.document.tags for m in other.documents] == [["red"], []]
    assert [tag.name for tag in anna.list_all_tags()] == ["red"]
    anna.untag_document(document.id, "red")
    assert document.tags == []


def test_plain_text_and_files_are_ingested(anna, world, other):
    job = anna.ingest_from_plain_text(other.id, "Söme text", "note.txt", metadata={"k": 1})
    assert (job.kind, job.completed) == ("IngestPlainTextJob", True)
    upload = anna.upload("letter.txt", io.StringIO("Dear reader"))
    job = anna.ingest_uploads(other.id, [upload])
    assert (job.kind, job.completed) == ("IngestUploadsJob", True)
    assert [(m.document.name, m.document.text, m.metadata) for m in other.documents] == [
        ("note.txt", "Söme text", {"k": 1}),
        ("letter.txt", "Dear reader", {}),
    ]
    chunks = anna.list_document_chunks(other.documents[0].document.id, other.id)
    assert [c.text for c in chunks] == ["Söme text"]
    assert world.uploads == {}


def test_only_those_who_may_upload_ingest(connect, world, other):
    with pytest.raises(ForbiddenError):
        connect("bertil").ingest_from_plain_text(other.id, "text", "note.txt")


# -- chunks


def test_chunks_are_numbered_over_the_collection(anna, world, home):
    home.documents[0].status = "failed"
    listed = [anna.list_document_chunks(m.document.id, home.id) for m in home.documents]
    assert listed[0] == []
    assert [c.id for chunks in listed for c in chunks] == list(range(1, 1 + sum(map(len, listed))))
    assert len(listed[1]) > 1
    chunk = listed[1][1]
    assert (chunk.topic, chunk.name) == (home.documents[1].document.id, "b.pdf")
    assert [c.text for c in anna.get_chunks(home.id, [chunk.id, 1])] == [
        chunk.text,
        listed[1][0].text,
    ]
    with pytest.raises(InvalidArgumentError):
        anna.get_chunks(home.id, [999])


def test_passage_is_found_again_by_the_model_of_the_collection(anna, world):
    home = world.add_collection("anna", "Papers", LARGE, documents=20)
    wanted = anna.list_document_chunks(home.documents[7].document.id, home.id)[1]
    words = wanted.text.split()
    question = " ".join(words[len(words) // 3 : 2 * len(words) // 3])
    (vector,) = anna.encode_for_retrieval([question], LARGE)
    found = anna.match_chunks(home.id, [vector], [], 0, 10)
    assert (found[0].id, found[0].topic) == (wanted.id, wanted.topic)
    assert [f.score for f in found] == sorted((f.score for f in found), reverse=True)
    assert found[0].score > found[1].score
    elsewhere = home.documents[3].document.id
    assert {f.topic for f in anna.match_chunks(home.id, [vector], [elsewhere], 0, 10)} == {
        elsewhere
    }
    assert len(anna.match_chunks(home.id, [vector], [], 1, 2)) == 2
    assert anna.search_chunks(home.id, question, [], 0, 3)[0].id == wanted.id


def test_vectors_of_two_models_have_nothing_in_common(anna, world, home):
    assert dimensions(M3) != dimensions(LARGE)
    with pytest.raises(InvalidArgumentError):
        anna.match_chunks(home.id, [list(embed(LARGE, "text"))], [], 0, 10)
    with pytest.raises(InvalidArgumentError):
        anna.encode_for_retrieval(["text"], "no/such-model")


@pytest.mark.parametrize("way", ["empty", "garbage"])
def test_new_index_may_be_broken_and_the_old_one_is_not(anna, world, way):
    source = world.add_collection("anna", "Papers", M3, documents=20)
    target = anna.create_collection("New", "", embedding_model=LARGE)
    anna.import_collection_into_collection(target, source.id, copy_document=False)
    world.habits.broken_index = way

    def ranks(collection_id, model):
        for line in source.documents[:5]:
            own = line.document.id
            text = anna.list_document_chunks(own, collection_id)[0].text
            (vector,) = anna.encode_for_retrieval([text], model)
            topics = [c.topic for c in anna.match_chunks(collection_id, [vector], [], 0, 9)]
            yield topics.index(own) if own in topics else None

    assert set(ranks(source.id, M3)) == {0}
    broken = list(ranks(target, LARGE))
    assert set(broken) == {None} if way == "empty" else set(broken) != {0}
    world.habits.broken_index = ""
    assert set(ranks(target, LARGE)) == {0}

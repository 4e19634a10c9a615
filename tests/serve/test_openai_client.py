"""The official client asks a server in a process of its own."""

import openai
import pytest

from sartor import load


@pytest.fixture
def client(child):
    with openai.OpenAI(base_url=f"{child().url}/v1", api_key="none", max_retries=0) as made:
        yield made


def test_the_official_client_chats_completes_streams_embeds_and_lists(client, shop):
    assert {model.id for model in client.models.list()} >= {"mails@champion", "w0@champion", "prices@champion"}
    assert client.models.retrieve("mails@v2").id == "mails@v2"

    asked = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "my card was charged"}]
    raw = client.chat.completions.with_raw_response.create(model="mails@champion", messages=asked)
    told = raw.parse()
    assert told.choices[0].message.content == load("mails@v1").predict(["my card was charged"])[0]
    assert told.usage.prompt_tokens > 0
    assert raw.headers["x-sartor-answer-id"] == told.id
    assert raw.headers["x-sartor-source"] in ("small", "abstain")

    writer = load("w2")
    whole = client.completions.create(model="w2@champion", prompt=["say it", "say a"], max_tokens=6)
    from sartor.families.interface import Writing

    assert [choice.text for choice in whole.choices] == writer.predict(["say it", "say a"], Writing(6))

    pieces = list(
        client.chat.completions.create(
            model="w2@champion", messages=[{"role": "user", "content": "say it"}], max_completion_tokens=6, stream=True
        )
    )
    assert "".join(piece.choices[0].delta.content or "" for piece in pieces) == whole.choices[0].text
    assert pieces[-1].choices[0].finish_reason == "stop"
    streamed = list(client.completions.create(model="w2@champion", prompt="say it", max_tokens=6, stream=True))
    assert "".join(piece.choices[0].text for piece in streamed) == whole.choices[0].text
    labels = list(
        client.chat.completions.create(model="mails", messages=[{"role": "user", "content": "hello"}], stream=True)
    )
    assert labels[0].choices[0].delta.content in ("billing", "bug", "other")

    vectors = client.embeddings.create(model="mails@champion", input=["hello", "app"])
    assert [len(one.embedding) for one in vectors.data] == [32, 32]

    with pytest.raises(openai.NotFoundError, match="nobody"):
        client.chat.completions.create(model="nobody@champion", messages=asked)
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="w9@champion", messages=asked, stream=True)
    with pytest.raises(openai.UnprocessableEntityError, match="no turn of the user"):
        client.chat.completions.create(model="mails", messages=asked[:1])

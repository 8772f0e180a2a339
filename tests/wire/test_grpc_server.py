# SPDX-License-Identifier: Apache-2.0
"""The gRPC server of the http room (doubles/push_world.c carries it), with grpcio as its client."""
import socket
import threading
import time

import grpc
import hpack
import pytest

from lib import h2_frames as h2
from lib.doubles import PushWorld
from lib.wait import PATIENCE_S, wait_until

UNARY = "/test.Echo/Echo"


@pytest.fixture
def make_world(started):
    def make(**settings):
        world = PushWorld(**settings)
        return started.add(world, world.stop)
    return make


@pytest.fixture
def connect(started):
    def make(world, **options):
        channel = grpc.insecure_channel(world.target, options=[(f"grpc.{name}", value) for name, value in options.items()])
        return started.add(channel, channel.close)
    return make


def unary(channel, path):
    return channel.unary_unary(path, _registered_method=False)


def status_of(call):
    with pytest.raises(grpc.RpcError) as raised:
        call()
    return raised.value.code(), raised.value.details()


def test_unary__a_message__comes_back(make_world, connect):
    world = make_world()
    channel = connect(world)
    for message in (b"", b"x", b"y" * 100000):
        assert unary(channel, UNARY)(message, timeout=PATIENCE_S) == message
    world.wait_line("done /test.Echo/Echo", 3)


def test_stream__both_ways__in_order(make_world, connect):
    world = make_world()
    words = [str(i).encode() * 50 for i in range(200)]
    call = connect(world).stream_stream(UNARY)(iter(words), timeout=PATIENCE_S)
    assert list(call) == words
    assert call.code() == grpc.StatusCode.OK


def test_status__of_the_owner__with_its_message(make_world, connect):
    channel = connect(make_world())
    assert status_of(lambda: unary(channel, "/test.Echo/Refuse")(b"", timeout=PATIENCE_S)) == (
        grpc.StatusCode.PERMISSION_DENIED, "not you: 100 % sure")
    code, details = status_of(lambda: unary(channel, "/test.Echo/None")(b"", timeout=PATIENCE_S))
    assert code == grpc.StatusCode.UNIMPLEMENTED and "/test.Echo/None" in details


def test_metadata__of_the_call__is_there(make_world, connect):
    call = unary(connect(make_world()), "/test.Echo/Metadata")
    metadata = (("authorization", "Bearer token"), ("clusterid", "one"))
    assert call(b"", timeout=PATIENCE_S, metadata=metadata) == b"Bearer token one"


def test_message_limit__a_larger_one__ends_the_call_alone(make_world, connect):
    channel = connect(make_world(MESSAGE_BYTES=1000))
    assert unary(channel, UNARY)(b"x" * 1000, timeout=PATIENCE_S) == b"x" * 1000
    code, details = status_of(lambda: unary(channel, UNARY)(b"x" * 1001, timeout=PATIENCE_S))
    assert code == grpc.StatusCode.RESOURCE_EXHAUSTED and "1001" in details
    assert unary(channel, UNARY)(b"x", timeout=PATIENCE_S) == b"x"


def test_compressed__message__refused_by_name(make_world, connect):
    call = unary(connect(make_world()), UNARY)
    code, details = status_of(lambda: call(b"x" * 1000, timeout=PATIENCE_S, compression=grpc.Compression.Gzip))
    assert code == grpc.StatusCode.UNIMPLEMENTED and "compressed" in details


def test_deadline__of_the_client__ends_the_call_here_too(make_world, connect):
    world = make_world()
    code, _ = status_of(lambda: unary(connect(world), "/test.Echo/Hang")(b"", timeout=0.1))
    assert code == grpc.StatusCode.DEADLINE_EXCEEDED
    world.wait_line("done /test.Echo/Hang")


def test_cancel__by_the_client__is_told(make_world, connect):
    world = make_world()
    call = connect(world).stream_stream("/test.Echo/Hang")(iter([b"x"]))
    world.wait_line("call /test.Echo/Hang")
    call.cancel()
    world.wait_line("done /test.Echo/Hang")


def test_back_pressure__a_slow_reader__little_waits(make_world, connect):
    """64 MiB are sent as the client takes them: what waits in the server stays near one message."""
    world = make_world()
    call = connect(world).unary_stream("/test.Echo/Many")(b"256 262144", timeout=60)
    received = 0
    for message in call:
        received += 1
        if received <= 5:
            time.sleep(0.02)  # the reader is slow on purpose
        last = message
    assert received == 257
    assert int(last) <= 3 * 262144


def test_calls_limit__one_more__refused(make_world, connect):
    world = make_world(CALLS=2)
    channel = connect(world)
    hanging = [channel.stream_stream("/test.Echo/Hang")(iter(())) for _ in range(2)]
    world.wait_line("call /test.Echo/Hang", 2)
    assert _refused(channel)
    for call in hanging:
        call.cancel()
    wait_until(lambda: not _refused(channel), "room")


def _refused(channel):
    try:
        unary(channel, UNARY)(b"", timeout=PATIENCE_S)
        return False
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        return True


def test_drain__with_calls_open__ended_in_turn_and_told(make_world, connect):
    world = make_world(DRAIN_MS=200)
    ended = []

    def hang(channel):
        call = channel.stream_stream("/test.Echo/Hang")(iter([b"x"]))
        try:
            list(call)
        except grpc.RpcError as error:
            ended.append(error.code())
    channels = [connect(world, enable_retries=0, use_local_subchannel_pool=1) for _ in range(4)]
    threads = [threading.Thread(target=hang, args=(channel,)) for channel in channels]
    for thread in threads:
        thread.start()
    for channel in channels:
        unary(channel, UNARY)(b"", timeout=PATIENCE_S)
    world.tell("drain")
    for thread in threads:
        thread.join(PATIENCE_S)
    assert ended == [grpc.StatusCode.UNAVAILABLE] * 4
    world.wait_line("drained")
    assert world.process.wait(PATIENCE_S) == 0


def test_keep_alive__a_peer_that_doesnt_answer__is_cut_off(make_world):
    world = make_world(PING_MS=50, PING_TIMEOUT_MS=100)
    with socket.create_connection(("127.0.0.1", world.port), timeout=PATIENCE_S) as peer:
        peer.sendall(h2.PREFACE + h2.frame(h2.SETTINGS))
        received = b""
        while chunk := peer.recv(65536):
            received += chunk
    kinds = [kind for kind, flags, _, _ in h2.parse(received) if not flags]
    assert h2.PING in kinds


def test_what_isnt_grpc__gets_an_http_answer(make_world):
    world = make_world()
    with socket.create_connection(("127.0.0.1", world.port), timeout=PATIENCE_S) as peer:
        peer.sendall(h2.PREFACE + h2.frame(h2.SETTINGS) + h2.frame(h2.HEADERS, h2.END_HEADERS | h2.END_STREAM, 1, h2.GET)
                     + h2.frame(h2.HEADERS, h2.END_HEADERS | h2.END_STREAM, 3, h2.POST))
        received = b""
        while len([1 for kind, _, stream, _ in h2.parse(received) if kind == h2.HEADERS and stream]) < 2:
            received += peer.recv(65536)
    decoder = hpack.Decoder()
    answers = {stream: dict(decoder.decode(payload)) for kind, _, stream, payload in h2.parse(received) if kind == h2.HEADERS}
    assert answers[1][":status"] == "405" and answers[3][":status"] == "415"


def raw_echo(world, frames):
    """The frames of stream 1 that answer a call of Echo whose body is `frames`."""
    head = hpack.Encoder().encode([(":method", "POST"), (":scheme", "http"), (":path", UNARY), (":authority", "t"),
                                   ("content-type", "application/grpc"), ("te", "trailers")])
    with socket.create_connection(("127.0.0.1", world.port), timeout=PATIENCE_S) as peer:
        peer.sendall(h2.PREFACE + h2.frame(h2.SETTINGS) + h2.frame(h2.HEADERS, h2.END_HEADERS, 1, head) + b"".join(frames))
        received, answer = b"", []
        while not any(flags & h2.END_STREAM for _, flags, _ in answer):
            received += peer.recv(65536)
            answer = [(kind, flags, payload) for kind, flags, stream, payload in h2.parse(received) if stream == 1]
    return answer


def test_messages__a_byte_a_frame__are_put_together(make_world):
    messages = b"\0\0\0\0\5hello\0\0\0\0\0\0\0\0\0\1x"
    frames = [h2.frame(h2.DATA, 0, 1, messages[i:i + 1]) for i in range(len(messages))] + [h2.frame(h2.DATA, h2.END_STREAM, 1)]
    answer = raw_echo(make_world(), frames)
    assert b"".join(payload for kind, _, payload in answer if kind == h2.DATA) == messages


def test_message__cut_short_by_the_end__is_an_error(make_world):
    answer = raw_echo(make_world(), [h2.frame(h2.DATA, h2.END_STREAM, 1, b"\0\0\0\0\5hel")])
    decoder = hpack.Decoder()
    fields = [dict(decoder.decode(payload)) for kind, _, payload in answer if kind == h2.HEADERS][-1]
    assert fields["grpc-status"] == "13" and "cut short" in fields["grpc-message"]

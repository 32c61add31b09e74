package jetstream_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/internal/testserver"
	"github.com/tributary-es/tributary/jetstream"
	"github.com/tributary-es/tributary/jetstream/internal/wire"
)

// patience is how long a test waits for what must come.
const patience = 30 * time.Second

// store is a backend under test, together with its connection and a view of the
// JetStream stream that does not pass through it.
type store struct {
	*jetstream.Backend
	t  testing.TB
	nc *nats.Conn
	js natsjs.JetStream
}

// openStore opens a store on a connection.
func openStore(t testing.TB, nc *nats.Conn, cfg jetstream.Config) *store {
	t.Helper()
	b, err := jetstream.Open(t.Context(), nc, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return &store{Backend: b, t: t, nc: nc, js: jetStream(t, nc)}
}

// newStore opens a store on a server of its own.
func newStore(t testing.TB, cfg jetstream.Config, opts ...testserver.Option) *store {
	t.Helper()
	return openStore(t, testserver.Single(t, opts...).Connect(t, nats.Timeout(patience)), cfg)
}

func jetStream(t testing.TB, nc *nats.Conn) natsjs.JetStream {
	t.Helper()
	js, err := natsjs.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// again opens the same store once more: a backend that knows no heads.
func (s *store) again(cfg jetstream.Config) *store {
	s.t.Helper()
	return openStore(s.t, s.nc, cfg)
}

// append appends, and fails the test where that fails.
func (s *store) append(name string, expected backend.ExpectedVersion, events []backend.UnsavedEvent) backend.AppendResult {
	s.t.Helper()
	res, err := backend.Append(s.t.Context(), s, name, expected, events, uuid.Nil)
	if err != nil {
		s.t.Fatalf("append to %q: %v", name, err)
	}
	return res
}

// add appends commits with so many events each.
func (s *store) add(name string, sizes ...int) (last backend.AppendResult) {
	s.t.Helper()
	for _, n := range sizes {
		last = s.append(name, backend.AnyVersion(), unnamed(n))
	}
	return last
}

// all reads a whole event stream.
func (s *store) all(name string) []backend.RecordedEvent {
	s.t.Helper()
	events, err := s.ReadStream(s.t.Context(), name, 0, 1<<20, uuid.Nil)
	if err != nil {
		s.t.Fatalf("reading %q: %v", name, err)
	}
	return events
}

// info describes an event stream.
func (s *store) info(name string) backend.Stream {
	s.t.Helper()
	info, err := s.ReadStreamInfo(s.t.Context(), name, uuid.Nil)
	if err != nil {
		s.t.Fatalf("info of %q: %v", name, err)
	}
	return info
}

// stored tells how the JetStream stream is, with the subjects that filter
// matches.
func (s *store) stored(filter string) natsjs.StreamState {
	s.t.Helper()
	stream, err := s.js.Stream(s.t.Context(), jetstream.DefaultStream)
	if err != nil {
		s.t.Fatal(err)
	}
	info, err := stream.Info(s.t.Context(), natsjs.WithSubjectFilter(filter))
	if err != nil {
		s.t.Fatal(err)
	}
	return info.State
}

// lastSeq is the position at which the store ends.
func (s *store) lastSeq() uint64 {
	s.t.Helper()
	return s.stored("").LastSeq
}

// message returns the raw message at a position.
func (s *store) message(position uint64) *natsjs.RawStreamMsg {
	s.t.Helper()
	stream, err := s.js.Stream(s.t.Context(), jetstream.DefaultStream)
	if err != nil {
		s.t.Fatal(err)
	}
	msg, err := stream.GetMsg(s.t.Context(), position)
	if err != nil {
		s.t.Fatalf("message %d: %v", position, err)
	}
	return msg
}

// publish stores a message as it is, past the library, and returns its position.
func (s *store) publish(subject string, header map[string][]string, body []byte) uint64 {
	s.t.Helper()
	ack, err := s.js.PublishMsg(s.t.Context(), &nats.Msg{Subject: subject, Header: header, Data: body})
	if err != nil {
		s.t.Fatalf("publishing on %s: %v", subject, err)
	}
	return ack.Sequence
}

// put stores messages of the format as they are, and returns their positions.
func (s *store) put(name string, messages ...wire.Message) []uint64 {
	s.t.Helper()
	positions := make([]uint64, len(messages))
	for i, m := range messages {
		positions[i] = s.publish("events."+name, m.Header, m.Body)
	}
	return positions
}

// state is what the last message of an event stream says.
func (s *store) state(name string) wire.State {
	s.t.Helper()
	stream, err := s.js.Stream(s.t.Context(), jetstream.DefaultStream)
	if err != nil {
		s.t.Fatal(err)
	}
	msg, err := stream.GetLastMsgForSubject(s.t.Context(), "events."+name)
	if err != nil {
		s.t.Fatal(err)
	}
	rec, err := wire.Decode(msg.Header, msg.Data)
	if err != nil {
		s.t.Fatal(err)
	}
	return rec.State
}

// stateAt is what the message at a position says of its event stream.
func (s *store) stateAt(position uint64) wire.State {
	s.t.Helper()
	msg := s.message(position)
	rec, err := wire.Decode(msg.Header, msg.Data)
	if err != nil {
		s.t.Fatal(err)
	}
	return rec.State
}

// begun is the state of an event stream that is only just about to begin.
func begun() wire.State {
	return wire.State{First: 1, ID: 4711, Created: time.Now().UTC()}
}

// encode makes the messages of a commit of n events after before.
func encode(t testing.TB, n int, before wire.State, chain []wire.Link, perMessage int) []wire.Message {
	t.Helper()
	events, _, err := backend.Prepare("", identified(n), uuid.Nil)
	if err != nil {
		t.Fatal(err)
	}
	messages, err := wire.EncodeEvents(events, before, before.Version == 0, chain,
		wire.Limits{MaxMessageBytes: 1 << 20, EventsPerMessage: perMessage, MaxMessages: 1000})
	if err != nil {
		t.Fatal(err)
	}
	return messages
}

// unnamed makes events that are to be given ids.
func unnamed(n int) []backend.UnsavedEvent {
	events := make([]backend.UnsavedEvent, n)
	for i := range events {
		events[i] = backend.UnsavedEvent{EventType: "Tested", Data: fmt.Appendf(nil, `{"i":%d}`, i)}
	}
	return events
}

// identified makes events with ids of their own.
func identified(n int) []backend.UnsavedEvent {
	events := unnamed(n)
	for i := range events {
		events[i].EventUUID = uuid.New()
	}
	return events
}

func idsOf(events []backend.UnsavedEvent) []uuid.UUID {
	ids := make([]uuid.UUID, len(events))
	for i := range events {
		ids[i] = events[i].EventUUID
	}
	return ids
}

// wantVersions fails the test where events are not those of the versions first
// to last.
func wantVersions(t testing.TB, events []backend.RecordedEvent, first, last uint64) {
	t.Helper()
	if want := int(last + 1 - first); len(events) != want {
		t.Fatalf("%d events, want %d: versions %d to %d", len(events), want, first, last)
	}
	for i := range events {
		if want := first + uint64(i); events[i].StreamVersion != want || events[i].EventNumber != want {
			t.Fatalf("event %d has version %d and number %d, want %d", i, events[i].StreamVersion, events[i].EventNumber, want)
		}
	}
}

// reader reads a whole event stream in one of the ways there are.
type reader struct {
	name string
	read func(ctx context.Context, b backend.Backend, name string) ([]backend.RecordedEvent, error)
}

// readers are the ways to read one event stream.
var readers = []reader{
	{"ReadStream", func(ctx context.Context, b backend.Backend, name string) ([]backend.RecordedEvent, error) {
		return b.ReadStream(ctx, name, 0, 1<<20, uuid.Nil)
	}},
	{"StreamForward", func(ctx context.Context, b backend.Backend, name string) (all []backend.RecordedEvent, err error) {
		for batch, err := range b.StreamForward(ctx, name, 3, uuid.Nil) {
			if err != nil {
				return all, err
			}
			all = append(all, batch...)
		}
		return all, nil
	}},
	{"ReadStreamBackward", func(ctx context.Context, b backend.Backend, name string) ([]backend.RecordedEvent, error) {
		events, err := backend.ReadStreamBackward(ctx, b, name, 0, 1<<20, uuid.Nil)
		slices.Reverse(events)
		return events, err
	}},
}

// readAll reads the store, as far as it goes without an error.
func readAll(ctx context.Context, b backend.Backend, options backend.ReadAllOptions) (all []backend.RecordedEvent, err error) {
	for batch, err := range backend.ReadAll(ctx, b, options, uuid.Nil) {
		if err != nil {
			return all, err
		}
		all = append(all, batch...)
	}
	return all, nil
}

// wantCorrupted fails the test where err is not a [*backend.CorruptedError] of
// the position.
func wantCorrupted(t testing.TB, err error, position uint64) *backend.CorruptedError {
	t.Helper()
	corrupted, ok := errors.AsType[*backend.CorruptedError](err)
	if !ok || !errors.Is(err, backend.ErrCorrupted) {
		t.Fatalf("error %v, want a *backend.CorruptedError", err)
	}
	if corrupted.Position != position {
		t.Fatalf("position %d, want %d: %v", corrupted.Position, position, err)
	}
	return corrupted
}

// within returns a context that ends soon, in a test whose call must not.
func within(t testing.TB, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// eventually polls until ok, and fails the test when that takes too long.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("still not after %v: %s", patience, what)
		}
	}
}

// createRaw makes a JetStream stream with settings that nats.go doesn't know.
func createRaw(t testing.TB, nc *nats.Conn, cfg natsjs.StreamConfig, settings map[string]any) {
	t.Helper()
	data, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]any)
	if err := json.Unmarshal(data, &all); err != nil {
		t.Fatal(err)
	}
	maps.Copy(all, settings)
	if data, err = json.Marshal(all); err != nil {
		t.Fatal(err)
	}
	answer, err := nc.Request("$JS.API.STREAM.CREATE."+cfg.Name, data, patience)
	if err != nil {
		t.Fatal(err)
	}
	var failed struct {
		Error *natsjs.APIError `json:"error"`
	}
	if err := json.Unmarshal(answer.Data, &failed); err != nil || failed.Error != nil {
		t.Fatalf("creating %s: %v %v", data, err, failed.Error)
	}
}

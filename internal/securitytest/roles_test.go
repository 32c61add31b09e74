package securitytest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/internal/faulttest"
	"github.com/tributary-es/tributary/internal/testserver"
	"github.com/tributary-es/tributary/jetstream"
)

// patience bounds what must not take until then: a refusal that only comes when
// its time is over is none.
const patience = time.Minute

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// config has a missing answer noticed sooner than the default.
var config = jetstream.Config{RequestTimeout: 200 * time.Millisecond}

func open(t *testing.T, nc *nats.Conn) *jetstream.Backend {
	t.Helper()
	b, err := jetstream.Open(within(t), nc, config)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func events(n int) []backend.UnsavedEvent {
	all := make([]backend.UnsavedEvent, n)
	for i := range all {
		all[i] = backend.UnsavedEvent{EventUUID: uuid.New(), EventType: "Happened", Data: fmt.Appendf(nil, `{"i":%d}`, i)}
	}
	return all
}

func appendTo(t *testing.T, b *jetstream.Backend, name string, commits ...[]backend.UnsavedEvent) {
	t.Helper()
	for _, commit := range commits {
		if _, err := backend.Append(t.Context(), b, name, backend.AnyVersion(), commit, uuid.Nil); err != nil {
			t.Fatal(err)
		}
	}
}

// fill makes a store with a short event stream, a long one, and one that is
// soft-deleted.
func fill(t *testing.T, b *jetstream.Backend) {
	t.Helper()
	appendTo(t, b, "short", events(2), events(1))
	for range 100 {
		appendTo(t, b, "long", events(1))
	}
	appendTo(t, b, "deleted", events(1))
	if err := backend.SoftDelete(t.Context(), b, "deleted", backend.AnyVersion(), uuid.Nil); err != nil {
		t.Fatal(err)
	}
}

// operation is one thing that can be done to the store that fill makes.
type operation struct {
	name    string
	subject string // of the event stream, where it writes
	do      func(ctx context.Context, b *jetstream.Backend) error
}

// reads are all the ways to read.
var reads = []operation{
	{"info", "", func(ctx context.Context, b *jetstream.Backend) error {
		_, err := b.ReadStreamInfo(ctx, "short", uuid.Nil)
		return err
	}},
	{"a short event stream", "", func(ctx context.Context, b *jetstream.Backend) error {
		got, err := b.ReadStream(ctx, "short", 1, 10, uuid.Nil)
		return wantNumber(len(got), 3, err)
	}},
	{"a long event stream", "", func(ctx context.Context, b *jetstream.Backend) error {
		got, err := b.ReadStream(ctx, "long", 1, 1000, uuid.Nil)
		return wantNumber(len(got), 100, err)
	}},
	{"a part of a long event stream", "", func(ctx context.Context, b *jetstream.Backend) error {
		got, err := b.ReadStream(ctx, "long", 40, 5, uuid.Nil)
		return wantNumber(len(got), 5, err)
	}},
	{"backward", "", func(ctx context.Context, b *jetstream.Backend) error {
		got, err := backend.ReadStreamBackward(ctx, b, "long", 0, 60, uuid.Nil)
		return wantNumber(len(got), 60, err)
	}},
	{"forward", "", func(ctx context.Context, b *jetstream.Backend) error {
		return wantBatches(b.StreamForward(ctx, "long", 7, uuid.Nil), 100)
	}},
	{"forward, a short one", "", func(ctx context.Context, b *jetstream.Backend) error {
		return wantBatches(b.StreamForward(ctx, "short", 7, uuid.Nil), 3)
	}},
	{"all", "", func(ctx context.Context, b *jetstream.Backend) error {
		return wantBatches(backend.ReadAll(ctx, b, backend.ReadAllOptions{}, uuid.Nil), 104)
	}},
	{"subscribe to all", "", func(ctx context.Context, b *jetstream.Backend) error {
		return wantFollowed(ctx, b, backend.SubscribeOptions{}, 104)
	}},
	{"subscribe to one", "", func(ctx context.Context, b *jetstream.Backend) error {
		return wantFollowed(ctx, b, backend.SubscribeOptions{Stream: "short"}, 3)
	}},
	{"all under a name", "", func(ctx context.Context, b *jetstream.Backend) error {
		return wantBatches(backend.ReadAll(ctx, b, backend.ReadAllOptions{Under: "none"}, uuid.Nil), 0)
	}},
}

func wantNumber(got, want int, err error) error {
	if err == nil && got != want {
		return fmt.Errorf("%d events, want %d", got, want)
	}
	return err
}

func wantBatches(seq func(func([]backend.RecordedEvent, error) bool), want int) error {
	n := 0
	for batch, err := range seq {
		if err != nil {
			return err
		}
		n += len(batch)
	}
	return wantNumber(n, want, nil)
}

// wantFollowed follows until there is nothing more.
func wantFollowed(ctx context.Context, b *jetstream.Backend, options backend.SubscribeOptions, want int) error {
	n := 0
	for batch, err := range b.Subscribe(ctx, options) {
		if err != nil {
			return err
		}
		if n += len(batch.Events); batch.CaughtUp {
			break
		}
	}
	return wantNumber(n, want, nil)
}

// writes are all the ways to write.
var writes = []operation{
	{"create", "events.new", func(ctx context.Context, b *jetstream.Backend) error {
		_, err := b.CreateStream(ctx, backend.Stream{UUID: "new"}, uuid.Nil)
		return err
	}},
	{"append", "events.short", func(ctx context.Context, b *jetstream.Backend) error {
		_, err := b.AppendToStream(ctx, "short", events(1), uuid.Nil)
		return err
	}},
	{"append to a new one", "events.new.1", func(ctx context.Context, b *jetstream.Backend) error {
		_, err := backend.Append(ctx, b, "new.1", backend.NoStream(), events(1), uuid.Nil)
		return err
	}},
	{"append at a version", "events.long", func(ctx context.Context, b *jetstream.Backend) error {
		_, err := backend.Append(ctx, b, "long", backend.ExactVersion(100), events(1), uuid.Nil)
		return err
	}},
	{"append more than a message", "events.large", func(ctx context.Context, b *jetstream.Backend) error {
		large := events(3)
		for i := range large {
			large[i].Data = bytes.Repeat([]byte("x"), 600<<10)
		}
		_, err := backend.Append(ctx, b, "large", backend.AnyVersion(), large, uuid.Nil)
		return err
	}},
	{"import", "events.imported", func(ctx context.Context, b *jetstream.Backend) error {
		one := func(yield func(backend.StreamAppend, error) bool) {
			yield(backend.StreamAppend{StreamUUID: "imported", Events: events(1)}, nil)
		}
		_, err := backend.Import(ctx, b, one, backend.ImportOptions{}, uuid.Nil)
		return err
	}},
	{"soft-delete", "events.short", func(ctx context.Context, b *jetstream.Backend) error {
		return backend.SoftDelete(ctx, b, "short", backend.AnyVersion(), uuid.Nil)
	}},
	{"restore", "events.deleted", func(ctx context.Context, b *jetstream.Backend) error {
		return backend.Restore(ctx, b, "deleted", uuid.Nil)
	}},
	{"truncate all", "events.long", func(ctx context.Context, b *jetstream.Backend) error {
		return backend.Truncate(ctx, b, "long", 1000, uuid.Nil)
	}},
	{"delete", "events.long", func(ctx context.Context, b *jetstream.Backend) error {
		return b.DeleteStream(ctx, backend.Stream{UUID: "long"}, uuid.Nil)
	}},
}

// wantRefused fails the test where err isn't the server's refusal to let the
// client publish to a subject, which nothing was written for, or came only when
// the time was over.
func wantRefused(t *testing.T, what string, err error, subject string) {
	t.Helper()
	switch {
	case !errors.Is(err, nats.ErrPermissionViolation) || !strings.Contains(err.Error(), fmt.Sprintf("Publish to %q", subject)):
		t.Errorf("%s: %v, want a permission violation that names %s", what, err, subject)
	case !errors.Is(err, backend.ErrUnavailable) || errors.Is(err, backend.ErrOutcomeUnknown):
		t.Errorf("%s: %v, want ErrUnavailable", what, err)
	case errors.Is(err, context.DeadlineExceeded):
		t.Errorf("%s: %v, which took until the deadline", what, err)
	}
}

// lastPosition is the position at which the store ends.
func lastPosition(t *testing.T, nc *nats.Conn) uint64 {
	t.Helper()
	js, err := natsjs.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	s, err := js.Stream(t.Context(), jetstream.DefaultStream)
	if err != nil {
		t.Fatal(err)
	}
	return s.CachedInfo().State.LastSeq
}

// filled is a server with accounts.conf and the store that fill makes.
func filled(t *testing.T) (*testserver.Server, *nats.Conn) {
	t.Helper()
	s := startAccounts(t)
	nc := s.Connect(t, admin.options()...)
	fill(t, open(t, nc))
	return s, nc
}

func TestAReaderReadsAndEveryWriteIsRefusedBeforeItsTimeIsOver(t *testing.T) {
	s, adminConn := filled(t)
	before := lastPosition(t, adminConn)
	b := open(t, s.Connect(t, reader.options()...))
	for _, op := range writes {
		start := time.Now()
		wantRefused(t, op.name, op.do(within(t), b), op.subject)
		t.Logf("%s: refused after %v", op.name, time.Since(start).Round(time.Millisecond))
	}
	for _, op := range reads {
		if err := op.do(within(t), b); err != nil {
			t.Errorf("%s: %v", op.name, err)
		}
	}
	if after := lastPosition(t, adminConn); after != before {
		t.Errorf("the store ends at %d after a reader's writes, at %d before", after, before)
	}
}

func TestAConsumerReadsAndWritesNoEvents(t *testing.T) {
	s, adminConn := filled(t)
	before := lastPosition(t, adminConn)
	b := open(t, s.Connect(t, consumer.options()...))
	for _, op := range writes {
		wantRefused(t, op.name, op.do(within(t), b), op.subject)
	}
	for _, op := range reads {
		if err := op.do(within(t), b); err != nil {
			t.Errorf("%s: %v", op.name, err)
		}
	}
	if after := lastPosition(t, adminConn); after != before {
		t.Errorf("the store ends at %d after a consumer's writes, at %d before", after, before)
	}
}

func TestAWriterReadsAndWrites(t *testing.T) {
	s, _ := filled(t)
	nc := s.Connect(t, writer.options()...)
	b := open(t, nc)
	for _, op := range append(append([]operation{}, reads...), writes...) {
		if err := op.do(within(t), b); err != nil {
			t.Errorf("%s: %v", op.name, err)
		}
	}
	if err := nc.Flush(); err != nil || nc.LastError() != nil {
		t.Errorf("%v, %v", err, nc.LastError())
	}
}

func TestTruncatingWithinAnEventStreamNeedsThePermissionToPurge(t *testing.T) {
	s, _ := filled(t)
	b := open(t, s.Connect(t, writer.options()...))
	err := backend.Truncate(within(t), b, "long", 50, uuid.Nil)
	wantRefused(t, "truncate", err, "$JS.API.STREAM.PURGE.EVENTS")
	// As Truncate says: out of sight, and purged by whoever may.
	if got, err := b.ReadStream(within(t), "long", 1, 1000, uuid.Nil); err != nil || len(got) != 51 {
		t.Errorf("%d events, %v, want 51", len(got), err)
	}
	if err := backend.Truncate(within(t), open(t, s.Connect(t, admin.options()...)), "long", 50, uuid.Nil); err != nil {
		t.Error(err)
	}
}

func TestAnAdminDoesEverything(t *testing.T) {
	s, nc := filled(t) // which Open created
	b := open(t, nc)
	for _, op := range append(append([]operation{}, reads...), writes...) {
		if err := op.do(within(t), b); err != nil {
			t.Errorf("%s: %v", op.name, err)
		}
	}
	appendTo(t, b, "truncated", events(1), events(1))
	if err := backend.Truncate(within(t), b, "truncated", 2, uuid.Nil); err != nil {
		t.Error(err)
	}
	js, err := natsjs.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(within(t), "EVENTS")
	if err != nil {
		t.Fatal(err)
	}
	cfg := stream.CachedInfo().Config
	cfg.MaxBytes = 1 << 30
	if _, err := js.UpdateStream(within(t), cfg); err != nil {
		t.Error(err)
	}
	snapshot := faulttest.TakeSnapshot(t, nc, "EVENTS")
	end := lastPosition(t, nc)
	if err := stream.Purge(within(t)); err != nil {
		t.Error(err)
	}
	if err := js.DeleteStream(within(t), "EVENTS"); err != nil {
		t.Error(err)
	}
	snapshot.Restore(t, nc, "EVENTS")
	if restored := lastPosition(t, nc); restored != end {
		t.Errorf("the restored store ends at %d, the old one did at %d", restored, end)
	}
	if nc.LastError() != nil || s.Connect(t, admin.options()...).LastError() != nil {
		t.Error(nc.LastError())
	}
}

func TestOnlyAnAdminMakesTheStore(t *testing.T) {
	s := startAccounts(t)
	for _, r := range []role{reader, writer, consumer} {
		_, err := jetstream.Open(within(t), s.Connect(t, r.options()...), config)
		wantRefused(t, string(r), err, "$JS.API.STREAM.CREATE.EVENTS")
	}
	open(t, s.Connect(t, admin.options()...))
	for _, r := range []role{reader, writer, consumer} {
		open(t, s.Connect(t, r.options()...))
	}
}

func TestNoServiceMayChangeTheJetStreamStream(t *testing.T) {
	s, adminConn := filled(t)
	for _, r := range []role{reader, writer, consumer} {
		nc := s.Connect(t, r.options()...)
		for _, subject := range []string{
			"$JS.API.STREAM.DELETE.EVENTS",
			"$JS.API.STREAM.UPDATE.EVENTS",
			"$JS.API.STREAM.PURGE.EVENTS",
			"$JS.API.STREAM.MSG.DELETE.EVENTS",
			"$JS.API.STREAM.SNAPSHOT.EVENTS",
			"$JS.API.STREAM.RESTORE.EVENTS",
			"$JS.API.STREAM.RESTORE.OTHER",
			"$JS.API.STREAM.CREATE.OTHER", // which might have EVENTS as a source
			"$JS.API.STREAM.LEADER.STEPDOWN.EVENTS",
			"$JS.API.STREAM.PEER.REMOVE.EVENTS",
			"$JS.API.STREAM.NAMES",
			"$JS.API.STREAM.LIST",
			"$JS.API.INFO",
			"$JS.API.CONSUMER.DURABLE.CREATE.EVENTS.x",
			"$SYS.REQ.SERVER.PING",
			"other.events.x",
			"events",
		} {
			wantDenied(t, r, nc, subject)
		}
	}
	b := open(t, adminConn)
	for _, op := range reads {
		if err := op.do(within(t), b); err != nil {
			t.Errorf("%s: %v", op.name, err)
		}
	}
}

// wantDenied fails the test where the client may publish to a subject.
func wantDenied(t *testing.T, r role, nc *nats.Conn, subject string) {
	t.Helper()
	if err := nc.Publish(subject, nil); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil { // whose answer comes after the refusal
		t.Fatal(err)
	}
	if err := nc.LastError(); !errors.Is(err, nats.ErrPermissionViolation) || !strings.Contains(err.Error(), fmt.Sprintf("Publish to %q", subject)) {
		t.Errorf("a %s may publish to %s: the last error is %v", r, subject, err)
	}
}

func TestNobodyHearsWhatOthersAreAnswered(t *testing.T) {
	s, _ := filled(t)
	for _, r := range roles {
		nc := s.Connect(t, r.options()...)
		for _, subject := range []string{"_INBOX.>", "_INBOX_OTHER.>", "events.>", "$JS.>", ">"} {
			if _, err := nc.SubscribeSync(subject); err != nil {
				t.Fatal(err)
			}
			if err := nc.Flush(); err != nil { // whose answer comes after the refusal
				t.Fatal(err)
			}
			if err := nc.LastError(); !errors.Is(err, nats.ErrPermissionViolation) || !strings.Contains(err.Error(), fmt.Sprintf("Subscription to %q", subject)) {
				t.Errorf("a %s may subscribe to %s: the last error is %v", r, subject, err)
			}
		}
	}
}

// A client that forgets its inbox is told so, too.
func TestAClientWithTheCommonInboxIsToldWhy(t *testing.T) {
	s, _ := filled(t)
	cfg := jetstream.Config{Timeout: 500 * time.Millisecond, RequestTimeout: 100 * time.Millisecond}
	_, err := jetstream.Open(t.Context(), s.Connect(t, writer.login()), cfg)
	if !errors.Is(err, backend.ErrUnavailable) || !errors.Is(err, nats.ErrPermissionViolation) || !strings.Contains(err.Error(), `Subscription to "_INBOX.`) {
		t.Errorf("%v, want ErrUnavailable for a permission violation that names the inbox", err)
	}
}

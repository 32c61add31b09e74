package faulttest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/internal/blockfile"
	"github.com/tributary-es/tributary/internal/testserver"
	"github.com/tributary-es/tributary/jetstream"
)

var damages = flag.Int("damages", 15, "how many times TestDamage damages a store")

// TestDamage damages the files of a server that is stopped, and has it start
// again. Whatever is then read must be what was there, or an error.
//
// A process that knew the store must never see less without an error. One that
// comes new may, where the server dropped the end of a block: the last commits of
// an event stream are then missing. That is counted, and Open must have warned of
// it; anything else fails the test.
func TestDamage(t *testing.T) {
	t.Parallel()
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64() >> 1
	}
	t.Logf("-seed %d", seed)
	s := makeStore(t, rand.New(rand.NewPCG(seed, 0)))
	tally := make(map[string]*verdicts)
	deadline, bounded := t.Deadline()
	for i := range *damages {
		if bounded && time.Until(deadline) < time.Minute {
			t.Logf("%d of %d, as the time is over", i, *damages)
			break
		}
		random := rand.New(rand.NewPCG(seed, uint64(i)+1))
		kind := damageKinds[i%len(damageKinds)]
		v := s.damage(t, fmt.Sprintf("damage %d of seed %d: %s", i, seed, kind.name), kind, random)
		if tally[kind.name] == nil {
			tally[kind.name] = &verdicts{}
		}
		tally[kind.name].add(v)
	}
	for _, name := range slices.Sorted(maps.Keys(tally)) {
		t.Logf("%s: %v", name, *tally[name])
	}
}

// verdicts counts event streams, or damages.
type verdicts struct {
	runs    int
	whole   int // event streams that were read as they were
	named   int // those that were an error
	shorter int // those whose last commits were missing for a new process, without an error
	began   int // appends that were acknowledged afterwards
	silent  int // damages of which something was shorter
	warned  int // of these, those that Open told the logger of
}

func (v *verdicts) add(o verdicts) {
	v.runs, v.whole, v.named, v.shorter, v.began = v.runs+o.runs, v.whole+o.whole, v.named+o.named, v.shorter+o.shorter, v.began+o.began
	v.silent, v.warned = v.silent+o.silent, v.warned+o.warned
}

func (v verdicts) String() string {
	return fmt.Sprintf("%d damages; for a new process %d event streams whole, %d an error, %d shorter without one (%d damages, Open warned of %d); %d appends acknowledged",
		v.runs, v.whole, v.named, v.shorter, v.silent, v.warned, v.began)
}

// damageKind is something that is done to a store's files.
type damageKind struct {
	name string

	// killed: the server didn't write its index when it ended: there is an old one, or
	// none yet.
	killed bool

	// quiet: the server counts what it can't read, so that not even a new process
	// sees less without an error.
	quiet bool

	// unnoticed: as its index is good, the server may not notice that it lacks
	// something. Else [jetstream.Open] warns where something is missing.
	unnoticed bool

	do func(r *rand.Rand, dir string, records []blockfile.Record) (string, error)
}

// flipIn inverts a bit between two places of a record.
func flipIn(part func(r blockfile.Record) (from, to int64)) func(*rand.Rand, string, []blockfile.Record) (string, error) {
	return func(r *rand.Rand, _ string, records []blockfile.Record) (string, error) {
		record := records[r.IntN(len(records))]
		from, to := part(record)
		at := from + r.Int64N(to-from)
		return fmt.Sprintf("of message %d on %s, at byte %d", record.Sequence, record.Subject, at), blockfile.Flip(record.File, at, uint(r.IntN(8)))
	}
}

func data(r blockfile.Record) (int64, int64) { return r.HeadersAt, r.End }
func subject(r blockfile.Record) (int64, int64) {
	return r.SubjectAt, r.SubjectAt + int64(len(r.Subject))
}

// flipFixed inverts a bit of a length, sequence or time, but none that makes a
// sequence far too high: nats-server 2.15.2 then makes a list of all that it takes
// for missing, which no memory is enough for (filestore.go, indexCacheBuf).
func flipFixed(r *rand.Rand, _ string, records []blockfile.Record) (string, error) {
	record := records[r.IntN(len(records))]
	at, bit := record.Start+r.Int64N(record.SubjectAt-record.Start), uint(r.IntN(8))
	if i := at - record.Start - 4; i >= 2 && i < 8 {
		at -= i
	}
	return fmt.Sprintf("of message %d on %s, at byte %d", record.Sequence, record.Subject, at), blockfile.Flip(record.File, at, bit)
}

var damageKinds = []damageKind{
	{name: "a bit of data or checksum", quiet: true, do: flipIn(data)},
	{name: "a bit of a subject", unnoticed: true, do: flipIn(subject)},
	{name: "a bit of a length, sequence or time", unnoticed: true, do: flipFixed},
	{name: "a bit of data or checksum, after kill -9", killed: true, do: flipIn(data)},
	{name: "a bit of a subject, after kill -9", killed: true, do: flipIn(subject)},
	{name: "a bit of a length, sequence or time, after kill -9", killed: true, do: flipFixed},
	{name: "a block truncated", unnoticed: true, do: truncateBlock},
	{name: "a block truncated, after kill -9", killed: true, do: truncateBlock},
	{name: "a page of zeros", unnoticed: true, do: zeroPage},
	{name: "a page of zeros, after kill -9", killed: true, do: zeroPage},
	{name: "a block gone", do: removeBlock},
	{name: "the index gone", quiet: true, do: func(_ *rand.Rand, dir string, _ []blockfile.Record) (string, error) {
		return "", os.Remove(blockfile.Index(dir, jetstream.DefaultStream))
	}},
	{name: "a bit of the index", quiet: true, do: func(r *rand.Rand, dir string, _ []blockfile.Record) (string, error) {
		return flipFile(r, blockfile.Index(dir, jetstream.DefaultStream))
	}},
	{name: "an old index", quiet: true, do: oldIndex},
	{name: "a bit of the JetStream stream's configuration", do: func(r *rand.Rand, dir string, _ []blockfile.Record) (string, error) {
		return flipFile(r, filepath.Join(blockfile.Dir(dir, jetstream.DefaultStream), "meta.inf"))
	}},
}

// oldIndex puts back the index of an earlier moment.
func oldIndex(_ *rand.Rand, dir string, _ []blockfile.Record) (string, error) {
	old, err := os.ReadFile(filepath.Join(dir, "index.old"))
	if err != nil {
		return "", err
	}
	return "", os.WriteFile(blockfile.Index(dir, jetstream.DefaultStream), old, 0o600)
}

func flipFile(r *rand.Rand, path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	at := r.Int64N(info.Size())
	return fmt.Sprintf("at byte %d", at), blockfile.Flip(path, at, uint(r.IntN(8)))
}

func randomBlock(r *rand.Rand, dir string) (path string, size int64, err error) {
	blocks, err := blockfile.Blocks(dir, jetstream.DefaultStream)
	if err != nil {
		return "", 0, err
	}
	path = blocks[r.IntN(len(blocks))]
	info, err := os.Stat(path)
	if err != nil {
		return "", 0, err
	}
	return path, info.Size(), nil
}

func truncateBlock(r *rand.Rand, dir string, _ []blockfile.Record) (string, error) {
	path, size, err := randomBlock(r, dir)
	if err != nil {
		return "", err
	}
	to := r.Int64N(size)
	return fmt.Sprintf("%s to %d of %d bytes", filepath.Base(path), to, size), os.Truncate(path, to)
}

func zeroPage(r *rand.Rand, dir string, _ []blockfile.Record) (string, error) {
	path, size, err := randomBlock(r, dir)
	if err != nil {
		return "", err
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	at := r.Int64N(size) &^ 4095
	_, err = f.WriteAt(make([]byte, min(4096, size-at)), at)
	return fmt.Sprintf("%s from byte %d", filepath.Base(path), at), err
}

func removeBlock(r *rand.Rand, dir string, _ []blockfile.Record) (string, error) {
	path, _, err := randomBlock(r, dir)
	if err != nil {
		return "", err
	}
	return filepath.Base(path), os.Remove(path)
}

// derived is the event that an id has: all of it comes from the id, so that what is
// read can be told from what was never stored.
func derived(id uuid.UUID) backend.UnsavedEvent {
	return backend.UnsavedEvent{
		EventUUID:     id,
		CausationID:   uuid.NewSHA1(id, []byte("cause")),
		CorrelationID: id,
		EventType:     "Happened" + id.String()[:4],
		Data:          bytes.Repeat(id[:8], 1+int(id[0])%20),
		Metadata:      []byte("about " + id.String()[:8]),
		CreatedAt:     time.Unix(int64(id[1])<<8+int64(id[2]), int64(id[3])).UTC(),
	}
}

// derivedEvents makes n events, of ids that a seed repeats.
func derivedEvents(r *rand.Rand, n int) []backend.UnsavedEvent {
	events := make([]backend.UnsavedEvent, n)
	for i := range events {
		var id uuid.UUID
		binary.LittleEndian.PutUint64(id[:], r.Uint64())
		binary.LittleEndian.PutUint64(id[8:], r.Uint64())
		events[i] = derived(id)
	}
	return events
}

// wantDerived returns an error where an event isn't all that its id says.
func wantDerived(got backend.RecordedEvent) error {
	want := derived(got.EventUUID)
	is := backend.UnsavedEvent{EventUUID: got.EventUUID, CausationID: got.CausationID, CorrelationID: got.CorrelationID,
		EventType: got.EventType, Data: got.Data, Metadata: got.Metadata, CreatedAt: got.CreatedAt}
	if !reflect.DeepEqual(is, want) {
		return fmt.Errorf("event %+v, stored was %+v", is, want)
	}
	return nil
}

// damageable is a store that is copied for each damage.
type damageable struct {
	dir   string
	truth map[string][]uuid.UUID // by event stream, in order
	whole []uuid.UUID            // of the event stream that was truncated, all there ever were
}

// truncatedBefore is the first version that was kept of one event stream.
const truncatedBefore = 5

// With so few bytes the server makes blocks of 32 KB.
var damageConfig = jetstream.Config{MaxBytes: 120_000, RequestTimeout: 10 * time.Millisecond, Timeout: 20 * time.Second}

// makeStore makes a store of some blocks, with event streams of many kinds.
func makeStore(t *testing.T, r *rand.Rand) *damageable {
	t.Helper()
	s := &damageable{dir: t.TempDir(), truth: make(map[string][]uuid.UUID)}
	server, err := testserver.Start(s.dir)
	must(t, err)
	defer server.Shutdown()
	nc := connectTo(t, server)
	b := openOn(t, nc, damageConfig)
	cfg := damageConfig
	cfg.EventsPerMessage = 1
	single := openOn(t, nc, cfg)
	ctx := t.Context()
	commit := func(b *jetstream.Backend, name string, n int) {
		events := derivedEvents(r, n)
		for _, e := range events {
			s.truth[name] = append(s.truth[name], e.EventUUID)
		}
		_, err := backend.Append(ctx, b, name, backend.AnyVersion(), events, uuid.Nil)
		must(t, err)
	}
	for i := range 80 {
		commit(b, fmt.Sprintf("often.%d", r.IntN(3)), 1+r.IntN(3))
		switch i % 10 {
		case 3, 4:
			commit(b, fmt.Sprintf("once.%d", i/20), 1+r.IntN(2))
		case 5:
			commit(single, "parts", 3)
		case 7:
			commit(b, "truncated", 2)
		}
		if i == 40 {
			commit(b, "deleted", 3)
			must(t, b.DeleteStream(ctx, backend.Stream{UUID: "deleted"}, uuid.Nil))
			delete(s.truth, "deleted")
			must(t, b.Truncate(ctx, "truncated", truncatedBefore, uuid.Nil))
			server.Stop() // for an index of this moment
			old, err := os.ReadFile(blockfile.Index(s.dir, jetstream.DefaultStream))
			must(t, err)
			must(t, os.WriteFile(filepath.Join(s.dir, "index.old"), old, 0o600))
			must(t, server.Restart())
		}
	}
	s.whole = s.truth["truncated"]
	s.truth["truncated"] = s.whole[truncatedBefore-1:]
	server.Stop()
	return s
}

func connectTo(t testing.TB, server *testserver.Server) *nats.Conn {
	t.Helper()
	return server.Connect(t)
}

func openOn(t testing.TB, nc *nats.Conn, cfg jetstream.Config) *jetstream.Backend {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	b, err := jetstream.Open(ctx, nc, cfg)
	must(t, err)
	return b
}

// damage damages a copy, and judges what is read.
func (s *damageable) damage(t *testing.T, what string, kind damageKind, r *rand.Rand) verdicts {
	t.Helper()
	dir := t.TempDir()
	must(t, os.CopyFS(dir, os.DirFS(s.dir)))
	server, err := testserver.Start(dir)
	must(t, err)
	defer server.Shutdown()
	nc := connectTo(t, server)
	defer nc.Close()
	warm := openOn(t, nc, damageConfig)
	names := slices.Sorted(maps.Keys(s.truth)) // in an order that the seed repeats
	for _, name := range names {
		if got := s.read(warm, name, readForward); got.err != nil || !slices.Equal(got.ids, s.truth[name]) {
			t.Fatalf("before %s: %s: %d events, error %v", what, name, len(got.ids), got.err)
		}
	}
	server.Stop()
	if kind.killed {
		if r.IntN(2) == 0 {
			_, err = oldIndex(r, dir, nil)
		} else {
			err = os.Remove(blockfile.Index(dir, jetstream.DefaultStream))
		}
		must(t, err)
	}
	records, err := blockfile.Records(dir, jetstream.DefaultStream)
	must(t, err)
	where, err := kind.do(r, dir, records)
	must(t, err)
	what += " " + where
	must(t, server.Restart())

	v := verdicts{runs: 1}
	var warnings bytes.Buffer
	cfg := damageConfig
	cfg.Logger = slog.New(slog.NewTextHandler(&warnings, &slog.HandlerOptions{Level: slog.LevelWarn}))
	cold := openOn(t, nc, cfg)
	warned := strings.Contains(warnings.String(), "the server lost messages")
	for _, name := range names {
		truth := s.truth[name]
		// In what way the process that knew reads doesn't matter much, but takes time.
		known := slices.Sorted(maps.Keys(reads))[r.IntN(len(reads))]
		if got := s.read(warm, name, reads[known]); !errors.Is(got.err, backend.ErrCorrupted) && !s.isWhole(got, name, known) {
			t.Errorf("%s: a process that knew reads %d of %d events of %s by %s, error %v", what, len(got.ids), len(truth), name, known, got.err)
		}
		worst := &v.whole
		for way, read := range reads {
			got := s.read(cold, name, read)
			switch {
			case s.isWhole(got, name, way):
			case errors.Is(got.err, backend.ErrCorrupted):
				worst = &v.named
			case !kind.quiet && s.isShorter(got, name):
				if worst != &v.named {
					worst = &v.shorter
				}
			default:
				t.Errorf("%s: a new process reads %d of %d events of %s by %s, error %v", what, len(got.ids), len(truth), name, way, got.err)
			}
		}
		*worst++
	}
	if v.shorter > 0 {
		v.silent++
		if warned {
			v.warned++
		} else if !kind.unnoticed {
			t.Errorf("%s: a new process reads %d event streams shorter, and Open didn't warn of it", what, v.shorter)
		}
	}
	s.checkAll(t, what, warm)
	s.checkAll(t, what, cold)
	v.began = s.appendAfter(t, what, warm, r)
	return v
}

// isWhole reports whether what was read is what there was. Where the server lost
// its note that it erased something, that is there again: a subscription shows what
// is stored.
func (s *damageable) isWhole(got reading, name, way string) bool {
	return got.err == nil && (slices.Equal(got.ids, s.truth[name]) ||
		name == "truncated" && way == "Subscribe" && slices.Equal(got.ids, s.whole))
}

// isShorter reports whether what was read lacks the last events, or all; and, where
// that they were truncated is lost, too, the first are there again.
func (s *damageable) isShorter(got reading, name string) bool {
	if errors.Is(got.err, backend.ErrStreamNotFound) {
		return true
	}
	truth := s.truth[name]
	if name == "truncated" && (len(got.ids) == 0 || got.ids[0] == s.whole[0]) {
		truth = s.whole
	}
	return got.err == nil && len(got.ids) < len(truth) && slices.Equal(got.ids, truth[:len(got.ids)])
}

// reading is what was read of an event stream.
type reading struct {
	ids []uuid.UUID
	err error
}

type readBy func(ctx context.Context, b *jetstream.Backend, name string) ([]backend.RecordedEvent, error)

func readForward(ctx context.Context, b *jetstream.Backend, name string) (all []backend.RecordedEvent, err error) {
	for batch, err := range b.StreamForward(ctx, name, 7, uuid.Nil) {
		if err != nil {
			return nil, err
		}
		all = append(all, batch...)
	}
	return all, nil
}

var reads = map[string]readBy{
	"StreamForward": readForward,
	"ReadStream": func(ctx context.Context, b *jetstream.Backend, name string) ([]backend.RecordedEvent, error) {
		return b.ReadStream(ctx, name, 0, 1<<20, uuid.Nil)
	},
	"ReadStreamBackward": func(ctx context.Context, b *jetstream.Backend, name string) ([]backend.RecordedEvent, error) {
		events, err := b.ReadStreamBackward(ctx, name, 0, 1<<20, uuid.Nil)
		slices.Reverse(events)
		return events, err
	},
	"Subscribe": func(ctx context.Context, b *jetstream.Backend, name string) (all []backend.RecordedEvent, err error) {
		if _, err := b.ReadStreamInfo(ctx, name, uuid.Nil); err != nil {
			return nil, err // a subscription waits for an event stream to begin
		}
		for batch, err := range b.Subscribe(ctx, backend.SubscribeOptions{Stream: name, From: backend.FromBeginning()}) {
			if err != nil {
				return nil, err
			}
			if all = append(all, batch.Events...); batch.CaughtUp {
				break
			}
		}
		return all, nil
	},
}

func (s *damageable) read(b *jetstream.Backend, name string, by readBy) reading {
	ctx, cancel := context.WithTimeout(context.Background(), patience/4)
	defer cancel()
	events, err := by(ctx, b, name)
	got := reading{err: err}
	for _, e := range events {
		if e.StreamUUID == name {
			got.ids = append(got.ids, e.EventUUID)
		}
		if got.err == nil {
			got.err = wantDerived(e)
		}
	}
	return got
}

// checkAll reads all event streams together, past each error: what comes of each
// must be in order, and nothing but what there was.
func (s *damageable) checkAll(t *testing.T, what string, b *jetstream.Backend) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	at := make(map[string]int) // in the truth of each event stream
	skipped := false
	for after := uint64(0); ; {
		var bad *backend.CorruptedError
		for batch, err := range b.ReadAll(ctx, backend.ReadAllOptions{After: after}, uuid.Nil) {
			if err != nil {
				var ok bool
				if bad, ok = errors.AsType[*backend.CorruptedError](err); !ok {
					t.Errorf("%s: ReadAll: %v", what, err)
					return
				}
				skipped = true // of others, too, what is missing up to its position
			}
			for _, e := range batch {
				if err := wantDerived(e); err != nil {
					t.Errorf("%s: ReadAll: %v", what, err)
				}
				if e.StreamUUID == "truncated" || e.StreamUUID == "deleted" {
					continue // of which more may be stored than is shown
				}
				truth := s.truth[e.StreamUUID]
				i := slices.Index(truth, e.EventUUID)
				if i < at[e.StreamUUID] || i > at[e.StreamUUID] && !skipped {
					t.Errorf("%s: ReadAll shows event %d of %s where %d is due", what, i+1, e.StreamUUID, at[e.StreamUUID]+1)
				}
				at[e.StreamUUID] = i + 1
			}
		}
		if bad == nil {
			return
		}
		if bad.StreamUUID == "" { // it is another JetStream stream
			return
		}
		if bad.Position <= after && after != 0 {
			t.Errorf("%s: ReadAll after %d fails at %d again: %v", what, after, bad.Position, bad)
			return
		}
		after = bad.Position
	}
}

// appendAfter appends to all event streams as a process that knew them: what is
// acknowledged must get the next version, and be there.
func (s *damageable) appendAfter(t *testing.T, what string, b *jetstream.Backend, r *rand.Rand) (acknowledged int) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(s.truth)) {
		truth := s.truth[name]
		ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
		version := uint64(len(truth))
		if name == "truncated" {
			version += truncatedBefore - 1
		}
		events := derivedEvents(r, 2)
		res, err := backend.Append(ctx, b, name, backend.ExactVersion(version), events, uuid.Nil)
		cancel()
		switch {
		case err == nil && res.Version == version+2:
			acknowledged++
			got := s.read(b, name, readForward)
			want := append(slices.Clone(truth), events[0].EventUUID, events[1].EventUUID)
			if !errors.Is(got.err, backend.ErrCorrupted) && !slices.Equal(got.ids, want) {
				t.Errorf("%s: after an append %s has %d events, want %d, error %v", what, name, len(got.ids), len(want), got.err)
			}
		case errors.Is(err, backend.ErrCorrupted), errors.Is(err, backend.ErrOutcomeUnknown), errors.Is(err, backend.ErrUnavailable):
		default:
			t.Errorf("%s: append to %s at version %d: version %d, error %v", what, name, version, res.Version, err)
		}
	}
	return acknowledged
}

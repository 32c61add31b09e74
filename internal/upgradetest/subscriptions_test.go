package upgradetest

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/internal/testserver"
	"github.com/tributary-es/tributary/jetstream"
)

// What named subscriptions and checkpoints are kept as is stored in testdata, too:
// the directories subscriptions-* have a snapshot of the store and one of its
// bucket.
//
//	go test ./internal/upgradetest -run TestMakeSubscriptions -make-subscriptions subscriptions-v2
var makeSubscriptions = flag.String("make-subscriptions", "", "write named subscriptions with this version, into a new directory testdata/`name`")

const bucketStream = "KV_" + jetstream.DefaultStream + "_SUBSCRIPTIONS"

// kept is what a version says of named subscriptions.
type kept struct {
	Position   uint64 // of the subscription
	Behind     uint64
	Parked     []backend.ParkedCommit
	Checkpoint uint64
}

func subscribed() backend.ConsumeOptions {
	return backend.ConsumeOptions{Under: "mirrored", MaxAttempts: 1, Partitions: 4, EventTypes: []string{"Wanted", "Refused"}}
}

func keptBy(t *testing.T, b *jetstream.Backend) kept {
	t.Helper()
	infos, err := backend.Subscriptions(t.Context(), b)
	if err != nil || len(infos) != 1 || infos[0].Name != "mirror" || len(infos[0].Members) != 0 {
		t.Fatalf("%+v, error %v, want the subscription without members", infos, err)
	}
	parked, err := backend.Parked(t.Context(), b, "mirror")
	if err != nil {
		t.Fatal(err)
	}
	checkpoint, err := backend.OpenCheckpoint(t.Context(), b, "mailer")
	if err != nil {
		t.Fatal(err)
	}
	position, err := checkpoint.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return kept{Position: infos[0].Position, Behind: infos[0].Behind, Parked: parked, Checkpoint: position}
}

// consume handles commits until so many calls were made, and returns them as event
// stream and first version. What is refused fails.
func consume(t *testing.T, b *jetstream.Backend, calls int, handler func(backend.Commit) error) (handled []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var mu sync.Mutex
	err := backend.Consume(ctx, b, "mirror", subscribed(), func(_ context.Context, c backend.Commit) error {
		mu.Lock()
		defer mu.Unlock()
		handled = append(handled, fmt.Sprint(c.StreamUUID, " ", c.Events[0].StreamVersion))
		if len(handled) == calls {
			defer cancel()
		}
		return handler(c)
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v after %q", err, handled)
	}
	return handled
}

func refusing(c backend.Commit) error {
	if c.Events[0].EventType == "Refused" {
		return errors.New("refused")
	}
	return nil
}

func TestMakeSubscriptions(t *testing.T) {
	if *makeSubscriptions == "" {
		t.Skip("only with -make-subscriptions")
	}
	nc := testserver.Single(t).Connect(t)
	b, err := jetstream.Open(t.Context(), nc, jetstream.Config{})
	if err != nil {
		t.Fatal(err)
	}
	w := writing{t, t.Context(), b}
	w.append("mirrored.good", backend.UnsavedEvent{EventType: "Wanted"}, backend.UnsavedEvent{EventType: "Wanted"})
	w.append("mirrored.bad", backend.UnsavedEvent{EventType: "Wanted"})
	w.append("mirrored.bad", backend.UnsavedEvent{EventType: "Refused"})
	w.append("mirrored.bad", backend.UnsavedEvent{EventType: "Wanted"}) // waits behind it
	w.append("mirrored.good", backend.UnsavedEvent{EventType: "Wanted"})
	w.append("elsewhere", backend.UnsavedEvent{EventType: "Wanted"})

	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- backend.Consume(ctx, b, "mirror", subscribed(), func(_ context.Context, c backend.Commit) error { return refusing(c) })
	}()
	for errors.Is(backend.WaitFor(t.Context(), b, "mirror", 6), backend.ErrSubscriptionNotFound) { // until it exists
	}
	cancel()
	<-ended
	w.append("mirrored.good", backend.UnsavedEvent{EventType: "Wanted"}) // is yet to be handled
	checkpoint, err := backend.OpenCheckpoint(t.Context(), b, "mailer")
	w.must(err)
	w.must(checkpoint.Save(t.Context(), 6))

	want, err := json.MarshalIndent(keptBy(t, b), "", "  ")
	w.must(err)
	dir := filepath.Join("testdata", *makeSubscriptions)
	w.must(os.Mkdir(dir, 0o755)) // what is there is never written again
	w.must(os.WriteFile(filepath.Join(dir, wantFile), append(want, '\n'), 0o644))
	for part, stream := range map[string]string{"events": jetstream.DefaultStream, "bucket": bucketStream} {
		s := take(t, nc, stream)
		w.must(os.Mkdir(filepath.Join(dir, part), 0o755))
		for name, data := range map[string][]byte{streamFile: s.stream, snapshotFile: s.data} {
			w.must(os.WriteFile(filepath.Join(dir, part, name), data, 0o644))
		}
	}
}

func TestNamedSubscriptionsAreAsTheyWereAndGoOn(t *testing.T) {
	dirs, err := filepath.Glob("testdata/subscriptions-*")
	if err != nil || len(dirs) == 0 {
		t.Fatalf("no subscriptions: %v", err)
	}
	for _, dir := range dirs {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			nc := testserver.Single(t).Connect(t)
			b, want := restored(t, nc, dir)
			if got := keptBy(t, b); !reflect.DeepEqual(got, want) {
				t.Fatalf("it is\n%+v\nand was\n%+v", got, want)
			}
			if len(want.Parked) != 2 || want.Behind != 1 || want.Checkpoint == 0 {
				t.Fatalf("what was stored lacks something: %+v", want)
			}

			// It goes on with what wasn't handled, and with nothing else.
			if got := consume(t, b, 1, refusing); !reflect.DeepEqual(got, []string{"mirrored.good 4"}) {
				t.Errorf("%q were handled, want the commit that was not", got)
			}
			if err := backend.ReplayParked(t.Context(), b, "mirror", want.Parked[0].Position); err != nil {
				t.Fatal(err)
			}
			got := consume(t, b, 2, func(backend.Commit) error { return nil })
			if !reflect.DeepEqual(got, []string{"mirrored.bad 2", "mirrored.bad 3"}) {
				t.Errorf("%q were handled, want what was parked, in order", got)
			}
			checkpoint, err := backend.OpenCheckpoint(t.Context(), b, "mailer")
			if err != nil {
				t.Fatal(err)
			}
			if err := checkpoint.Save(t.Context(), 1); !errors.Is(err, backend.ErrCheckpointMoved) {
				t.Errorf("saving a checkpoint that wasn't loaded: error %v", err)
			}
			if _, err := checkpoint.Load(t.Context()); err != nil {
				t.Error(err)
			}
			if err := checkpoint.Save(t.Context(), 9); err != nil {
				t.Error(err)
			}
			other := subscribed()
			other.Partitions++
			err = backend.Consume(t.Context(), b, "mirror", other, func(context.Context, backend.Commit) error { return nil })
			if conflict, ok := errors.AsType[*backend.SubscriptionConflictError](err); !ok || !strings.Contains(conflict.Option, "Partitions") {
				t.Errorf("consuming with other options: error %v", err)
			}
		})
	}
}

// restored restores a store and its bucket.
func restored(t *testing.T, nc *nats.Conn, dir string) (*jetstream.Backend, kept) {
	t.Helper()
	for part, stream := range map[string]string{"events": jetstream.DefaultStream, "bucket": bucketStream} {
		loadSnapshot(t, filepath.Join(dir, part)).restore(t, nc, stream)
	}
	var want kept
	if err := json.Unmarshal(read(t, dir, wantFile), &want); err != nil {
		t.Fatal(err)
	}
	b, err := jetstream.Open(t.Context(), nc, jetstream.Config{})
	if err != nil {
		t.Fatal(err)
	}
	return b, want
}

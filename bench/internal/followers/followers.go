// Package followers has one process follow very many event streams at the same
// time, each by a subscription of its own, and measures what that takes.
//
// [Run] starts nats-server in a process of its own, writes to it, and starts the
// process that follows, which has nothing else to do, so that its memory is that
// of the subscriptions. Both are this program, executed once more: main has to call
// servers.ServeIfAsked and [FollowIfAsked] first.
package followers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/bench/internal/servers"
	"github.com/tributary-es/tributary/jetstream"
)

// Config says how large the run is. The zero value is the whole.
type Config struct {
	// Streams is how many event streams there are, each followed. 0: 10,000.
	Streams int

	// Commits is how many commits, of one event with 200 bytes of data each, an event
	// stream has before it is followed. 0: 5.
	Commits int

	// Progress is told, in a line without its end, what is going on. nil: nobody is
	// told.
	Progress func(line string)
}

// Result is what was measured.
type Result struct {
	Streams int
	Commits int

	CaughtUp time.Duration // from the first subscription until each has told that it has caught up
	Appended time.Duration // for an append to each event stream, by another process
	Arrived  time.Duration // from the first of these until each subscription has yielded its own
	Ended    time.Duration // from when the context ended until all subscriptions had

	Before     Memory // when it had opened the store, and before it followed anything
	Following  Memory // when each had caught up
	After      Memory // when each append had arrived
	Goroutines int    // while they followed
	Consumers  int    // on the server, while they followed
	Left       int    // consumers, when all had ended
}

// Memory is what a process has, in bytes; 0 where the system doesn't tell.
type Memory struct {
	RSS  int64 // resident
	Peak int64 // the most that was
	Heap int64 // of Go's objects, those included that are no longer used
}

const data = 200 // bytes of an event

// name is that of an event stream.
func name(i int) string { return fmt.Sprintf("followed.%d", i) }

// Run measures.
func Run(ctx context.Context, cfg Config) (res Result, err error) {
	res.Streams, res.Commits = cmp.Or(cfg.Streams, 10_000), cmp.Or(cfg.Commits, 5)
	progress := cfg.Progress
	if progress == nil {
		progress = func(string) {}
	}
	server, err := servers.Start(ctx, servers.Apart, "")
	if err != nil {
		return res, err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	nc, err := server.Connect()
	if err != nil {
		return res, err
	}
	defer nc.Close()
	b, err := jetstream.Open(ctx, nc, jetstream.Config{})
	if err != nil {
		return res, err
	}
	defer b.Close()
	progress(fmt.Sprintf("appending %d commits to each of %d event streams", res.Commits, res.Streams))
	for commit := range res.Commits {
		if err := each(ctx, b, res.Streams, uint64(commit)); err != nil {
			return res, err
		}
	}

	f, err := start(ctx, server.URL, res.Streams, res.Commits)
	if err != nil {
		return res, err
	}
	defer func() { err = errors.Join(err, f.stop()) }()
	s, err := f.next()
	if err != nil {
		return res, err
	}
	res.Before = s.Memory
	progress("following")
	if s, err = f.next(); err != nil {
		return res, err
	}
	res.CaughtUp, res.Following, res.Goroutines = s.Took, s.Memory, s.Goroutines
	if res.Consumers, err = consumers(ctx, nc); err != nil {
		return res, err
	}
	progress("all have caught up")
	began := time.Now()
	if err := each(ctx, b, res.Streams, uint64(res.Commits)); err != nil {
		return res, err
	}
	res.Appended = time.Since(began)
	if s, err = f.next(); err != nil {
		return res, err
	}
	res.Arrived, res.After = time.Since(began), s.Memory
	progress("all appends have arrived")
	if err := f.end(); err != nil {
		return res, err
	}
	if s, err = f.next(); err != nil {
		return res, err
	}
	res.Ended = s.Took
	res.Left, err = none(ctx, nc)
	return res, err
}

// each appends a commit to each event stream.
func each(ctx context.Context, b backend.Backend, streams int, version uint64) error {
	events := []backend.UnsavedEvent{{EventType: "MoneyDeposited", Data: make([]byte, data)}}
	var appends iter.Seq2[backend.StreamAppend, error] = func(yield func(backend.StreamAppend, error) bool) {
		for i := range streams {
			if !yield(backend.StreamAppend{StreamUUID: name(i), Expected: backend.ExactVersion(version), Events: events}, nil) {
				return
			}
		}
	}
	_, err := backend.Import(ctx, b, appends, backend.ImportOptions{}, uuid.Nil)
	return err
}

// consumers is how many the JetStream stream has.
func consumers(ctx context.Context, nc *nats.Conn) (int, error) {
	js, err := natsjs.New(nc)
	if err != nil {
		return 0, err
	}
	stream, err := js.Stream(ctx, jetstream.DefaultStream)
	if err != nil {
		return 0, err
	}
	return stream.CachedInfo().State.Consumers, nil
}

// none waits until there are no consumers, for they are deleted without waiting
// for an answer, and returns how many are left after a while.
func none(ctx context.Context, nc *nats.Conn) (left int, err error) {
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); {
		if left, err = consumers(ctx, nc); err != nil || left == 0 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	return left, err
}

// memory is this process's.
func memory() (Memory, error) { return memoryOf(os.Getpid()) }

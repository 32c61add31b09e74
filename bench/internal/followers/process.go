package followers

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/jetstream"
)

// followCommand is the first argument of a process that is to follow.
const followCommand = "follow-many"

// order is what such a process is to do.
type order struct {
	URL     string
	Streams int
	Commits int
}

// state is what it tells, a line of JSON each: when it has opened the store, when
// all have caught up, when one event more has come to each, and, after a line on
// its standard input, when all have ended.
type state struct {
	Took       time.Duration
	Memory     Memory
	Goroutines int
}

// FollowIfAsked has to be called first thing in main, and in TestMain. In a
// process that [Run] started it does not return. In any other it does nothing.
func FollowIfAsked() {
	if len(os.Args) != 3 || os.Args[1] != followCommand {
		return
	}
	signal.Ignore(os.Interrupt) // it is for the process that started this one
	if err := follow(os.Args[2], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "following:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func follow(argument string, in io.Reader, out io.Writer) error {
	var o order
	if err := json.Unmarshal([]byte(argument), &o); err != nil {
		return err
	}
	nc, err := nats.Connect(o.URL)
	if err != nil {
		return err
	}
	defer nc.Close()
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	b, err := jetstream.Open(ctx, nc, jetstream.Config{})
	if err != nil {
		return err
	}
	defer b.Close()
	tell := func(took time.Duration) error {
		m, err := memory()
		if err != nil {
			return err
		}
		return json.NewEncoder(out).Encode(state{Took: took, Memory: m, Goroutines: runtime.NumGoroutine()})
	}
	if err := tell(0); err != nil {
		return err
	}
	enough := errors.New("enough")
	go func() {
		_, _ = bufio.NewReader(in).ReadString('\n') // or its end: the other process is gone
		cancel(enough)
	}()

	began := time.Now()
	var caughtUp, arrived, ended sync.WaitGroup
	for i := range o.Streams {
		caughtUp.Add(1)
		arrived.Add(1)
		ended.Go(func() {
			told := sync.OnceFunc(caughtUp.Done)
			seen := 0
			for batch, err := range b.Subscribe(ctx, backend.SubscribeOptions{Stream: name(i)}) {
				if err != nil {
					cancel(err)
					return
				}
				for _, e := range batch.Events {
					if seen++; e.StreamUUID != name(i) || e.StreamVersion != uint64(seen) {
						cancel(fmt.Errorf("%s yielded version %d of %s after %d", name(i), e.StreamVersion, e.StreamUUID, seen-1))
					}
				}
				if batch.CaughtUp {
					told()
				}
				if len(batch.Events) > 0 && seen == o.Commits+1 {
					arrived.Done()
				}
			}
		})
	}
	for _, all := range []*sync.WaitGroup{&caughtUp, &arrived} {
		done := make(chan struct{})
		go func() {
			all.Wait()
			close(done)
		}()
		select {
		case <-done:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if err := tell(time.Since(began)); err != nil {
			return err
		}
	}
	<-ctx.Done()
	if cause := context.Cause(ctx); !errors.Is(cause, enough) {
		return cause
	}
	began = time.Now()
	ended.Wait()
	return tell(time.Since(began))
}

// follower is the process, as seen by the one that started it.
type follower struct {
	cmd   *exec.Cmd
	input io.WriteCloser
	lines *json.Decoder
}

func start(ctx context.Context, url string, streams, commits int) (*follower, error) {
	argument, err := json.Marshal(order{URL: url, Streams: streams, Commits: commits})
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	f := &follower{cmd: exec.CommandContext(ctx, self, followCommand, string(argument))}
	f.cmd.Stderr = os.Stderr
	if f.input, err = f.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	output, err := f.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	f.lines = json.NewDecoder(output)
	return f, f.cmd.Start()
}

// next returns what the process tells next.
func (f *follower) next() (s state, err error) {
	if err := f.lines.Decode(&s); err != nil {
		return s, fmt.Errorf("the process that follows: %w", err)
	}
	return s, nil
}

// end has the subscriptions end.
func (f *follower) end() error {
	_, err := io.WriteString(f.input, "\n")
	return err
}

// stop ends the process, and waits until it has.
func (f *follower) stop() error {
	_ = f.input.Close() // it ends with it
	return f.cmd.Wait()
}

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/examples/internal/localnats"
	"github.com/tributary-es/tributary/jetstream"
)

// subscription is the named subscription of which all workers are members.
const subscription = "files-changed"

// subscribed says what the subscription is about.
var subscribed = backend.ConsumeOptions{
	Under: "git", // everything that githistory writes

	// So many commits at a time, of different files always.
	Concurrency: 8,

	// A worker that was killed is missed for so long. Shorter, and one that is only
	// slow is taken for dead, which costs repetitions.
	TakeoverAfter: 2 * time.Second,
}

// work is a worker: it handles commits until ctx ends, or it is killed, or the
// server has been away for ten seconds.
func work(ctx context.Context) error {
	address := os.Getenv(localnats.URLVariable)
	if address == "" {
		return errors.New("a worker has to be told the server, by " + localnats.URLVariable)
	}
	nc, err := nats.Connect(address, nats.Name("projection worker"), nats.ReconnectWait(time.Second), nats.MaxReconnects(10))
	if err != nil {
		return err
	}
	defer nc.Close()
	b, err := jetstream.Open(ctx, nc, jetstream.Config{})
	if err != nil {
		return err
	}
	defer b.Close()
	model, err := openModel(ctx, nc)
	if err != nil {
		return err
	}
	options := subscribed
	options.Member = fmt.Sprint("worker ", os.Getpid())
	return backend.Consume(ctx, b, subscription, options, model.handle)
}

// crew is the workers that this process has started.
type crew struct {
	address string
	workers int
	replace time.Duration
	note    func(string) // what there is to tell of them
	failed  func(error)  // one couldn't do its work

	running sync.WaitGroup
}

// start starts the workers, and others for those that are killed, until ctx ends.
func (c *crew) start(ctx context.Context) {
	for range c.workers {
		c.running.Go(func() {
			for ctx.Err() == nil {
				c.one(ctx)
				if c.replace == 0 {
					return
				}
				select {
				case <-time.After(c.replace):
				case <-ctx.Done():
				}
			}
		})
	}
}

// wait waits until all workers have ended.
func (c *crew) wait() { c.running.Wait() }

// one starts a worker, and waits until it has ended.
func (c *crew) one(ctx context.Context) {
	self, err := os.Executable()
	if err != nil {
		c.failed(err)
		return
	}
	cmd := exec.CommandContext(ctx, self, "-worker")
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second // then it is killed
	cmd.Env = append(os.Environ(), localnats.URLVariable+"="+c.address)
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		c.failed(fmt.Errorf("starting a worker: %w", err))
		return
	}
	c.note(fmt.Sprintf("worker %d was started", cmd.Process.Pid))
	err = cmd.Wait()
	switch exit, ok := errors.AsType[*exec.ExitError](err); {
	case ctx.Err() != nil:
	case ok && exit.Exited() && said.Len() > 0: // it wasn't killed
		c.failed(fmt.Errorf("worker %d: %s", cmd.Process.Pid, strings.TrimSpace(said.String())))
	default:
		c.note(fmt.Sprintf("worker %d has ended: %v", cmd.Process.Pid, cmd.ProcessState))
	}
}

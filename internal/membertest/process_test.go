package membertest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/jetstream"
)

// orderVariable has this program be a member instead of a test.
const orderVariable = "TRIBUTARY_TEST_MEMBER"

// order is what a member is to do.
type order struct {
	URL    string
	Member string
	Report string // the subject on which it tells what it handles
}

const (
	subscription  = "killed"
	takeoverAfter = time.Second
	concurrency   = 8
)

// handled is a call of a member's handler.
type handled struct {
	Member      string
	Stream      string
	First, Last uint64 // versions
}

func TestMain(m *testing.M) {
	text, isMember := os.LookupEnv(orderVariable)
	if !isMember {
		os.Exit(m.Run())
	}
	if err := consume(text); err != nil {
		fmt.Fprintln(os.Stderr, "member:", err)
		os.Exit(1)
	}
}

// consume is a member until standard input ends, as it does when the test is gone.
func consume(text string) error {
	var o order
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return err
	}
	nc, err := nats.Connect(o.URL, nats.MaxReconnects(-1))
	if err != nil {
		return err
	}
	defer nc.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	b, err := jetstream.Open(ctx, nc, jetstream.Config{})
	if err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	options := backend.ConsumeOptions{Under: "load", Concurrency: concurrency, Member: o.Member, TakeoverAfter: takeoverAfter}
	err = b.Consume(ctx, subscription, options, func(ctx context.Context, c backend.Commit) error {
		report, err := json.Marshal(handled{Member: o.Member, Stream: c.StreamUUID,
			First: c.Events[0].StreamVersion, Last: c.Events[len(c.Events)-1].StreamVersion})
		if err != nil {
			return err
		}
		// Answered by the test: what isn't known to have been told isn't handled.
		_, err = nc.RequestWithContext(ctx, o.Report, report)
		return err
	})
	if ctx.Err() != nil {
		return nil // as it was told
	}
	return err
}

// process is a member in a process of its own.
type process struct {
	t      *testing.T
	member string
	order  string
	cmd    *exec.Cmd
	input  io.WriteCloser
}

func startProcess(t *testing.T, o order) *process {
	t.Helper()
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, member: o.Member, order: string(text)}
	p.start()
	t.Cleanup(p.kill)
	return p
}

func (p *process) start() {
	p.t.Helper()
	self, err := os.Executable()
	if err != nil {
		p.t.Fatal(err)
	}
	p.cmd = exec.Command(self)
	p.cmd.Env = append(os.Environ(), orderVariable+"="+p.order)
	p.cmd.Stderr = os.Stderr
	if p.input, err = p.cmd.StdinPipe(); err != nil {
		p.t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
}

// kill is kill -9.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // harmless where it has ended
	_ = p.cmd.Wait()
}

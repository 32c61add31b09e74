package faulttest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/jetstream"
)

// clientVariable has this program be a client instead of a test.
const clientVariable = "TRIBUTARY_TEST_CLIENT"

// command is an append that a client's process is told to make.
type command struct {
	Stream  string
	Version uint64 // expected
	IDs     []uuid.UUID
}

// answer is what became of it.
type answer struct {
	Version, Position uint64
	Error             string // empty: none
}

// ServeIfAsked has to be called first thing in TestMain. In a process that a test
// started as a client it does not return.
func ServeIfAsked() {
	urls, ok := os.LookupEnv(clientVariable)
	if !ok {
		return
	}
	if err := serve(urls, os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "client:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// serve makes the appends that it is told, until in ends.
func serve(urls string, in io.Reader, out io.Writer) error {
	nc, err := nats.Connect(urls, nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond), nats.IgnoreDiscoveredServers())
	if err != nil {
		return err
	}
	defer nc.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	b, err := jetstream.Open(ctx, nc, jetstream.Config{})
	if err != nil {
		return err
	}
	orders, answers := json.NewDecoder(in), json.NewEncoder(out)
	for {
		var c command
		if err := orders.Decode(&c); err != nil {
			return nil
		}
		var events []backend.UnsavedEvent
		for _, id := range c.IDs {
			events = append(events, eventOf(id))
		}
		res, err := backend.Append(ctx, b, c.Stream, backend.ExactVersion(c.Version), events, uuid.Nil)
		a := answer{Version: res.Version, Position: res.Position}
		if err != nil {
			a.Error = err.Error()
		}
		if err := answers.Encode(a); err != nil {
			return err
		}
	}
}

// clientProcess is a client in a process of its own.
type clientProcess struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func startClient(urls string) (*clientProcess, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &clientProcess{cmd: exec.Command(self)}
	p.cmd.Env = append(os.Environ(), clientVariable+"="+urls)
	p.cmd.Stderr = os.Stderr
	dieWithUs(p.cmd)
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.out = bufio.NewReader(out)
	return p, p.cmd.Start()
}

// kill is kill -9.
func (p *clientProcess) kill() {
	_ = p.cmd.Process.Kill() // harmless where it has ended
	_ = p.cmd.Wait()
}

// killClients has a process append, and kills it somewhere in an append, of which
// it has said nothing yet. The next process is told to make the same append.
func (r *Round) killClients() {
	r.Helper()
	links := r.Cluster.NewClient(r)
	defer links.Close()
	var urls []string
	for _, l := range links.Links {
		urls = append(urls, "nats://"+l.Address())
	}
	stream, version, ledger := r.Load.name+".process-"+uuid.NewString()[:8], uint64(0), r.Load.Ledger
	var p *clientProcess
	defer func() {
		if p != nil {
			p.kill()
		}
	}()
	for kills := 0; kills < 5; {
		events := Events(1 + r.IntN(3))
		ledger.ask(events)
		for repeated := false; ; repeated = true {
			if p == nil {
				var err error
				p, err = startClient(strings.Join(urls, ","))
				must(r, err)
			}
			op := Op{Client: -1, Stream: stream, Expected: backend.ExactVersion(version), Call: time.Since(ledger.began)}
			for i := range events {
				op.IDs = append(op.IDs, events[i].EventUUID)
			}
			order, err := json.Marshal(command{Stream: stream, Version: version, IDs: op.IDs})
			must(r, err)
			_, err = p.in.Write(append(order, '\n'))
			must(r, err)
			if !repeated && r.IntN(3) == 0 {
				// It takes a process from some 20 ms to connect, and an append some 100 us.
				time.Sleep(time.Duration(r.Int64N(int64(3 * time.Millisecond))))
				p.kill()
				p = nil
				kills++
				op.Return, op.Err = time.Since(ledger.began), backend.ErrOutcomeUnknown
				ledger.note(context.Background(), &op)
				continue
			}
			line, err := p.out.ReadBytes('\n')
			must(r, err)
			var a answer
			must(r, json.Unmarshal(line, &a))
			op.Return, op.Version, op.Position = time.Since(ledger.began), a.Version, a.Position
			if a.Error != "" {
				op.Err = errors.New(a.Error)
				ledger.violate("a process that repeats an append: %s", a.Error)
			}
			ledger.note(context.Background(), &op)
			version = a.Version
			break
		}
	}
}

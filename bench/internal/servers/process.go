package servers

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
	"strings"
	"time"

	"github.com/tributary-es/tributary/internal/testserver"
)

// serveCommand is the first argument of a process that is to be a server.
const serveCommand = "serve-nats"

// startTimeout bounds a start, in which the server may have to read all of its
// store.
const startTimeout = 15 * time.Minute

// Order is what a server's process is to do.
type Order struct {
	Dir        string // of the store, which outlives it
	SyncAlways bool   // each write, before it is acknowledged
}

// ServeIfAsked has to be called first thing in main, and in TestMain. In a
// process that [StartProcess] started it does not return: it serves NATS until
// standard input ends, as it does when the process that started it is gone. In
// any other it does nothing.
func ServeIfAsked() {
	if len(os.Args) < 2 || os.Args[1] != serveCommand {
		return
	}
	if err := serve(os.Args[2:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "nats-server:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// serve runs a server until in ends. When it answers, it writes its URL to out,
// in a line.
func serve(args []string, in io.Reader, out io.Writer) error {
	// An interrupt from the terminal is for the process that started this one.
	signal.Ignore(os.Interrupt)
	if len(args) != 1 {
		return fmt.Errorf("%s takes one argument, not %d", serveCommand, len(args))
	}
	var o Order
	if err := json.Unmarshal([]byte(args[0]), &o); err != nil {
		return err
	}
	var options []testserver.Option
	if o.SyncAlways {
		options = append(options, testserver.SyncAlways())
	}
	s, err := testserver.Start(o.Dir, options...)
	if err != nil {
		return err
	}
	defer s.Shutdown()
	if _, err := fmt.Fprintln(out, s.URL()); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, in)
	return err
}

// Process is a server in a process of its own.
type Process struct {
	URL string // as nats.Connect takes it

	cmd    *exec.Cmd
	input  io.WriteCloser
	exited chan struct{} // closed when it has ended, and err is set
	err    error
}

// StartProcess starts this program once more, as a server, and returns when that
// answers. The caller has to call [Process.Stop] or [Process.Kill].
func StartProcess(ctx context.Context, o Order) (*Process, error) {
	argument, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	// Not bound to ctx: it ends when its input does, in good order.
	cmd := exec.Command(self, serveCommand, string(argument))
	cmd.Stderr = os.Stderr
	input, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	output, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &Process{cmd: cmd, input: input, exited: make(chan struct{})}
	url := make(chan string, 1)
	go func() {
		defer close(p.exited)
		// All output is read before Wait, which closes the pipe.
		lines := bufio.NewReader(output)
		line, _ := lines.ReadString('\n')
		url <- strings.TrimSpace(line)
		_, _ = io.Copy(io.Discard, lines)
		p.err = cmd.Wait()
	}()
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	select {
	case p.URL = <-url:
		if p.URL != "" {
			return p, nil
		}
		err = errors.New("it did not start")
	case <-ctx.Done():
		err = ctx.Err()
	}
	return nil, fmt.Errorf("the server's process: %w", errors.Join(err, p.Stop(stopTimeout)))
}

// Stop has the server end in good order, and kills it where that takes longer
// than timeout.
func (p *Process) Stop(timeout time.Duration) error {
	_ = p.input.Close() // fails only where the process is gone
	select {
	case <-p.exited:
		return p.err
	case <-time.After(timeout):
	}
	return errors.Join(fmt.Errorf("it did not end within %v", timeout), p.Kill())
}

// Kill ends the server as a failing machine would, but for what the operating
// system has.
func (p *Process) Kill() error {
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-p.exited
	_ = p.input.Close()
	return nil
}

// PID is the process's id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

package million

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
)

const (
	// serveVariable is the environment variable that makes a process a server: the
	// directory of its store.
	serveVariable = "TRIBUTARY_BENCH_SERVE"

	// startTimeout bounds a start, in which the server may have to read all of the
	// store.
	startTimeout = 15 * time.Minute

	// stopTimeout is how long the server may take to end before it is killed.
	stopTimeout = time.Minute
)

// ServeIfAsked has to be called first thing in main, and in TestMain. In a
// process that [Run] started it does not return: it serves NATS until standard
// input ends, as it does when the process that started it is gone. In any other
// it does nothing.
func ServeIfAsked() {
	dir := os.Getenv(serveVariable)
	if dir == "" {
		return
	}
	if err := serve(dir, os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "nats-server:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// serve runs a server until in ends. When it answers, it writes its URL to out,
// in a line.
func serve(dir string, in io.Reader, out io.Writer) error {
	// An interrupt from the terminal is for the process that started this one.
	signal.Ignore(os.Interrupt)
	srv, err := natsserver.NewServer(&natsserver.Options{
		ServerName: "tributary-million",
		Host:       "127.0.0.1",
		Port:       natsserver.RANDOM_PORT,
		JetStream:  true,
		StoreDir:   dir,
		NoSigs:     true,
	})
	if err != nil {
		return err
	}
	log := &errorLog{}
	srv.SetLogger(log, false, false)
	srv.Start() // returns when the store is recovered, or with no more than a log entry where that fails
	defer func() {
		srv.Shutdown()
		srv.WaitForShutdown()
	}()
	if !srv.ReadyForConnections(10 * time.Second) {
		return fmt.Errorf("it does not get ready: %s", log.fatal())
	}
	if _, err := fmt.Fprintln(out, srv.ClientURL()); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, in)
	return err
}

// errorLog is a server's log, of which only errors are kept, and written to
// standard error.
type errorLog struct {
	mu   sync.Mutex
	last string
}

func (l *errorLog) fatal() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

func (l *errorLog) Errorf(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last = line
	fmt.Fprintln(os.Stderr, "nats-server:", line)
}

func (l *errorLog) Fatalf(format string, args ...any) { l.Errorf(format, args...) }
func (l *errorLog) Noticef(string, ...any)            {}
func (l *errorLog) Warnf(string, ...any)              {}
func (l *errorLog) Debugf(string, ...any)             {}
func (l *errorLog) Tracef(string, ...any)             {}

// process is a server's process.
type process struct {
	cmd    *exec.Cmd
	input  io.WriteCloser
	url    string
	exited chan struct{} // closed when it has ended, and err is set
	err    error
}

// startProcess starts a server with its store in dir, and returns when it
// answers.
func startProcess(ctx context.Context, dir string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	// Not bound to ctx: it ends when its input does, in good order.
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), serveVariable+"="+dir)
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
	p := &process{cmd: cmd, input: input, exited: make(chan struct{})}
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
	case p.url = <-url:
		if p.url != "" {
			return p, nil
		}
		err = errors.New("it did not start")
	case <-ctx.Done():
		err = ctx.Err()
	}
	return nil, fmt.Errorf("the server's process: %w", errors.Join(err, p.stop()))
}

// stop has the server end in good order, and kills it where it doesn't.
func (p *process) stop() error {
	_ = p.input.Close() // fails only where the process is gone
	select {
	case <-p.exited:
		return p.err
	case <-time.After(stopTimeout):
	}
	return errors.Join(fmt.Errorf("it did not end within %v", stopTimeout), p.kill())
}

// kill ends the server as a failing machine would, but for what the operating
// system has.
func (p *process) kill() error {
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-p.exited
	_ = p.input.Close()
	return nil
}

// memory is what the server's process has of memory.
func (p *process) memory() (Memory, error) { return memoryOf(p.cmd.Process.Pid) }

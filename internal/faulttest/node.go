package faulttest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Node is one server, in a process of its own. Its methods may be called from
// several goroutines.
type Node struct {
	Name string // as JetStream calls it
	Dir  string // has its configuration, store and log

	config  string   // path of the configuration
	command []string // what the server is started by, if not itself

	life sync.Mutex // held while starting or ending
	mu   sync.Mutex // guards what follows
	proc *process   // nil: doesn't run
}

// process is one life of a server.
type process struct {
	cmd    *exec.Cmd
	pid    int // the server's own, where cmd is something around it
	exited chan struct{}
	client string // host and port
	route  string // host and port; empty: none
	http   string // URL
	paused bool
}

// StoreDir is where JetStream keeps its files; they may be changed while the
// server doesn't run.
func (n *Node) StoreDir() string { return filepath.Join(n.Dir, "store") }

// LogFile is what the server wrote, all its lives.
func (n *Node) LogFile() string { return filepath.Join(n.Dir, "log") }

// SetCommand has the server started by a command from its next start on: the
// server's own command line is appended to it. None: as usual.
func (n *Node) SetCommand(command ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.command = command
}

// Start starts the server, which must not run, and returns when clients can
// connect. JetStream may still be recovering, see [Cluster.WaitReady].
func (n *Node) Start() error {
	n.life.Lock()
	defer n.life.Unlock()
	if n.current() != nil {
		return fmt.Errorf("%s runs", n.Name)
	}
	binary, err := serverBinary()
	if err != nil {
		return err
	}
	for _, old := range n.portFiles() {
		_ = os.Remove(old)
	}
	log, err := os.OpenFile(filepath.Join(n.Dir, "output"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close() // the child has its own
	n.mu.Lock()
	args := append(append([]string(nil), n.command...), binary, "-c", n.config)
	n.mu.Unlock()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	dieWithUs(cmd)
	if err := cmd.Start(); err != nil {
		return err
	}
	p := &process{cmd: cmd, exited: make(chan struct{})}
	go func() {
		_ = cmd.Wait()
		close(p.exited)
	}()
	err = eventually(n.Name+" starts", func() error {
		select {
		case <-p.exited:
			return nil
		default:
			return n.findPorts(p)
		}
	})
	if err == nil && p.client == "" {
		err = fmt.Errorf("%s ended: %s", n.Name, n.tail())
	}
	if err != nil {
		_ = cmd.Process.Kill()
		<-p.exited
		return err
	}
	n.mu.Lock()
	n.proc = p
	n.mu.Unlock()
	return nil
}

func (n *Node) portFiles() []string {
	files, _ := filepath.Glob(filepath.Join(n.Dir, "*.ports"))
	return files
}

// findPorts reads where the server listens, which it writes to a file that has
// its process id in the name.
func (n *Node) findPorts(p *process) error {
	files := n.portFiles()
	if len(files) != 1 {
		return errors.New("it doesn't say where it listens")
	}
	text, err := os.ReadFile(files[0])
	if err != nil {
		return err
	}
	var ports struct{ Nats, Cluster, Monitoring []string }
	if err := json.Unmarshal(text, &ports); err != nil {
		return err // half written
	}
	if _, err := fmt.Sscanf(filepath.Base(files[0]), "nats-server_%d.ports", &p.pid); err != nil {
		return err
	}
	if len(ports.Nats) == 0 || len(ports.Monitoring) == 0 {
		return fmt.Errorf("it doesn't listen: %s", text)
	}
	host := func(list []string) string {
		if len(list) == 0 {
			return ""
		}
		u, err := url.Parse(list[0])
		if err != nil {
			return ""
		}
		return u.Host
	}
	p.route, p.http, p.client = host(ports.Cluster), ports.Monitoring[0], host(ports.Nats)
	return nil
}

// tail is the end of what the server wrote.
func (n *Node) tail() string {
	var all strings.Builder
	for _, name := range []string{"output", "log"} {
		text, _ := os.ReadFile(filepath.Join(n.Dir, name))
		if len(text) > 2000 {
			text = text[len(text)-2000:]
		}
		all.Write(text)
	}
	return all.String()
}

func (n *Node) current() *process {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.proc
}

// Running reports whether the server runs, paused or not. One that ended by
// itself does not.
func (n *Node) Running() bool {
	p := n.current()
	if p == nil {
		return false
	}
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// PID is the server's process id; 0: it doesn't run.
func (n *Node) PID() int {
	if p := n.current(); p != nil {
		return p.pid
	}
	return 0
}

// Kill is kill -9. Killing a server that doesn't run does nothing.
func (n *Node) Kill() error { return n.end(kill) }

// Stop shuts the server down in good order: it closes its store, and a leader
// hands over first.
func (n *Node) Stop() error { return n.end(stop) }

func (n *Node) end(signal func(pid int) error) error {
	n.life.Lock()
	defer n.life.Unlock()
	p := n.current()
	if p == nil {
		return nil
	}
	n.setPaused(false)
	if n.Running() {
		if err := signal(p.pid); err != nil {
			return err
		}
		_ = resume(p.pid) // else a signal would wait; it may be gone already
	}
	select {
	case <-p.exited:
	case <-time.After(patience):
		_ = kill(p.pid)
		_ = p.cmd.Process.Kill()
		<-p.exited
		return fmt.Errorf("%s did not end within %v", n.Name, patience)
	}
	n.mu.Lock()
	n.proc = nil
	n.mu.Unlock()
	return nil
}

// Pause stops the process in its tracks, as a machine that hangs, until
// [Node.Resume].
func (n *Node) Pause() error {
	n.life.Lock()
	defer n.life.Unlock()
	if !n.Running() {
		return fmt.Errorf("%s doesn't run", n.Name)
	}
	n.setPaused(true)
	return pause(n.current().pid)
}

// Resume has a paused server go on.
func (n *Node) Resume() error {
	n.life.Lock()
	defer n.life.Unlock()
	if !n.Running() {
		return nil
	}
	n.setPaused(false)
	return resume(n.current().pid)
}

func (n *Node) setPaused(paused bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.proc.paused = paused
}

// monitor asks the server's monitoring endpoint, which needs no NATS connection.
func (n *Node) monitor(path string, answer any) error {
	p := n.current()
	if p == nil || p.paused {
		return fmt.Errorf("%s doesn't run", n.Name)
	}
	client := http.Client{Timeout: 2 * time.Second}
	defer client.CloseIdleConnections()
	res, err := client.Get(p.http + path)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s: %s", path, res.Status, text)
	}
	return json.Unmarshal(text, answer)
}

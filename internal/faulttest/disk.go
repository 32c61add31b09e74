package faulttest

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// System calls by which the server writes its files; what it sends goes by others.
const (
	callsThatSync  = "fsync,fdatasync"
	callsThatWrite = "pwrite64"
)

// Disk has a server's disk fail, until [Disk.Heal]: by strace, which does something
// to system calls of the process.
type Disk struct {
	cmd    *exec.Cmd
	log    string // where strace writes what it sees
	mu     sync.Mutex
	healed bool
}

// BreakDisk has system calls of the server's changed, as the option -e inject of
// strace says: such as "fsync,fdatasync:error=EIO". It skips the test where there
// is no strace, or a process may not be traced.
func (n *Node) BreakDisk(tb testing.TB, inject string) *Disk {
	tb.Helper()
	needStrace(tb)
	calls, _, _ := strings.Cut(inject, ":")
	log := filepath.Join(tb.TempDir(), "strace")
	cmd := exec.Command("strace", "-f", "-o", log, "-p", strconv.Itoa(n.PID()), "-e", "trace="+calls, "-e", "inject="+inject)
	dieWithUs(cmd)
	says, err := cmd.StderrPipe()
	must(tb, err)
	must(tb, cmd.Start())
	d := &Disk{cmd: cmd, log: log}
	tb.Cleanup(d.Heal)
	watchdog := time.AfterFunc(patience, d.Heal)
	defer watchdog.Stop()
	lines := bufio.NewScanner(says)
	for lines.Scan() {
		if strings.Contains(lines.Text(), " attached") { // maybe with so many threads
			go io.Copy(io.Discard, says)
			return d
		}
		if strings.Contains(lines.Text(), "not permitted") {
			tb.Skipf("strace may not trace a process here: %s", lines.Text())
		}
	}
	tb.Fatalf("strace did not attach to %s", n.Name)
	return nil
}

// WaitHit waits until so many system calls have failed, or were held up.
func (d *Disk) WaitHit(tb testing.TB, n int) {
	tb.Helper()
	must(tb, eventually("the disk is hit", func() error {
		text, err := os.ReadFile(d.log)
		if hit := bytes.Count(text, []byte("(INJECTED)\n")) + bytes.Count(text, []byte("(DELAYED)\n")); err != nil || hit < n {
			return fmt.Errorf("%d of %d calls are, %v", hit, n, err)
		}
		return nil
	}))
}

// needStrace skips the test where strace can't be used.
func needStrace(tb testing.TB) {
	tb.Helper()
	if _, err := exec.LookPath("strace"); err != nil {
		tb.Skip("a failing disk takes strace, which isn't there")
	}
}

// Heal ends what [Node.BreakDisk] began.
func (d *Disk) Heal() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.healed {
		return
	}
	d.healed = true
	_ = d.cmd.Process.Signal(os.Interrupt) // it lets go of the server
	_ = d.cmd.Wait()
}

// SmallDisk is a file system of its own for a server's store, of so many bytes,
// which is gone when the test ends. It skips the test where none can be mounted.
func SmallDisk(tb testing.TB, bytes int) string {
	tb.Helper()
	dir := tb.TempDir()
	out, err := exec.Command("mount", "-t", "tmpfs", "-o", fmt.Sprintf("size=%d", bytes), "tmpfs", dir).CombinedOutput()
	if err != nil {
		tb.Skipf("a small disk takes the right to mount one: %v: %s", err, out)
	}
	tb.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			tb.Errorf("umount: %v: %s", err, out)
		}
	})
	return dir
}

package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/tributary-es/tributary/examples/internal/localnats"
)

const programVariable = "PROJECTION_TEST_PROGRAM"

// program is the real one, in a process of its own, with workers in theirs.
type program struct {
	t       *testing.T
	cmd     *exec.Cmd
	stdout  *bufio.Scanner
	stderr  bytes.Buffer
	said    strings.Builder // what was read of stdout
	workers []int           // process ids of those that it said it has started, and not that they have ended
	address string          // of its server
	changes int             // that it said are counted
}

// startProgram starts the program on a directory.
func startProgram(t *testing.T, dir string, args ...string) *program {
	t.Helper()
	p := &program{t: t}
	p.cmd = testCommand(t, append([]string{"-dir", dir, "-every", "5ms", "-replace", "50ms"}, args...)...)
	p.cmd.Env = append(p.cmd.Env, localnats.URLVariable+"=")
	p.cmd.Stderr = &p.stderr
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.stdout = bufio.NewScanner(stdout)
	t.Cleanup(func() { p.cmd.Process.Kill() }) // harmless where it has ended
	return p
}

func testCommand(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), programVariable+"=1")
	return cmd
}

var (
	startedLine = regexp.MustCompile(`^worker (\d+) was started`)
	endedLine   = regexp.MustCompile(`^worker (\d+) has ended`)
	countedLine = regexp.MustCompile(`^([0-9,]+) changes? in`)
	addressLine = regexp.MustCompile(localnats.URLVariable + `='([^']+)'`)
)

// until reads what the program says until what is true, and reports whether that
// was before it ended.
func (p *program) until(what func() bool) bool {
	for !what() {
		if !p.stdout.Scan() {
			return false
		}
		line := p.stdout.Text()
		fmt.Fprintln(&p.said, line)
		number := func(of *regexp.Regexp) int {
			found := of.FindStringSubmatch(line)
			if found == nil {
				return -1
			}
			n, err := strconv.Atoi(strings.ReplaceAll(found[1], ",", ""))
			if err != nil {
				p.t.Fatal(err)
			}
			return n
		}
		if pid := number(startedLine); pid >= 0 {
			p.workers = append(p.workers, pid)
		}
		if pid := number(endedLine); pid >= 0 {
			p.forget(pid)
		}
		p.changes = max(p.changes, number(countedLine))
		if found := addressLine.FindStringSubmatch(line); found != nil {
			p.address = found[1]
		}
	}
	return true
}

func (p *program) forget(pid int) {
	for i, other := range p.workers {
		if other == pid {
			p.workers = append(p.workers[:i], p.workers[i+1:]...)
			return
		}
	}
}

// end waits for the program and returns its exit code.
func (p *program) end() int {
	p.until(func() bool { return false })
	_ = p.cmd.Wait()
	return p.cmd.ProcessState.ExitCode()
}

// killWorker is kill -9 of the worker that was started first.
func (p *program) killWorker() {
	p.t.Helper()
	pid := p.workers[0]
	p.forget(pid)
	process, err := os.FindProcess(pid)
	if err == nil {
		err = process.Kill()
	}
	if err != nil {
		p.t.Errorf("killing worker %d: %v", pid, err)
	}
}

func TestKillingWorkersCountsEveryChangeOnce(t *testing.T) {
	r := newRepo(t)
	r.grow(800)
	want := r.changed()
	all := 0
	for _, n := range want {
		all += n
	}
	dir := t.TempDir()
	r.importInto([]string{"-dir", dir}, localnats.URLVariable+"=")

	p := startProgram(t, dir, "-once")
	const kills = 4
	killed := 0
	for ; killed < kills; killed++ {
		if !p.until(func() bool { return p.changes >= all*(killed+1)/(kills+2) && len(p.workers) > 0 }) {
			break
		}
		p.killWorker()
	}
	if code := p.end(); code != 0 {
		t.Fatalf("exit code %d: %s\n%s", code, p.stderr.String(), p.said.String())
	}
	t.Logf("%d changes, %d rows, %d workers killed", all, len(want), killed)
	if killed < kills/2 {
		t.Errorf("only %d workers were killed before all was done", killed)
	}
	if want := fmt.Sprintf("%d changes, in %d rows", all, len(want)); !strings.Contains(strings.ReplaceAll(p.said.String(), ",", ""), strings.ReplaceAll(want, ",", "")) {
		t.Errorf("it didn't say %q in the end:\n%s", want, p.said.String())
	}
	wantSame(t, stored(t, dir), want)
}

// While it runs, more is appended, by another program that was told the server,
// and another worker comes and goes. Then it is killed itself, and started again.
func TestItFollowsWhatIsAppended(t *testing.T) {
	r := newRepo(t)
	r.grow(100)
	dir := t.TempDir()
	p := startProgram(t, dir)
	if !p.until(func() bool { return p.address != "" && len(p.workers) == 2 }) {
		t.Fatalf("it ended: %s", p.stderr.String())
	}
	for range 2 {
		r.grow(100)
		r.importInto(nil, localnats.URLVariable+"="+p.address)
		all := 0
		for _, n := range r.changed() {
			all += n
		}
		if !p.until(func() bool { return p.changes == all }) {
			t.Fatalf("it ended: %s", p.stderr.String())
		}
		other := testCommand(t, "-worker")
		other.Env = append(other.Env, localnats.URLVariable+"="+p.address)
		if err := other.Start(); err != nil {
			t.Fatal(err)
		}
		defer other.Process.Kill()
		name := fmt.Sprintf("worker %d has 10 parts", other.Process.Pid)
		if !p.until(func() bool { return strings.Contains(p.said.String(), name) }) {
			t.Fatalf("it ended: %s", p.stderr.String())
		}
		if err := other.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		_ = other.Wait()
	}
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if code := p.end(); code != 130 {
		t.Errorf("exit code %d, want 130: %s", code, p.stderr.String())
	}
	for _, pid := range p.workers {
		if process, err := os.FindProcess(pid); err == nil && process.Signal(syscall.Signal(0)) == nil {
			t.Errorf("worker %d is still there", pid)
		}
	}
	wantSame(t, stored(t, dir), r.changed())

	again := startProgram(t, dir, "-once")
	if code := again.end(); code != 0 {
		t.Errorf("exit code %d: %s", code, again.stderr.String())
	}
	wantSame(t, stored(t, dir), r.changed())
}

func TestTheProgramSaysWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	_, stop, err := localnats.Serve(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	for _, test := range []struct {
		args []string
		code int
		want string
	}{
		{nil, 1, "another process is using this directory"},
		{[]string{"-worker"}, 1, localnats.URLVariable},
		{[]string{"a"}, 2, "-once"},
	} {
		p := startProgram(t, dir, test.args...)
		if code := p.end(); code != test.code || !strings.Contains(p.stderr.String(), test.want) {
			t.Errorf("%q: exit code %d, want %d; it said, without %q,\n%s", test.args, code, test.code, test.want, p.stderr.String())
		}
	}
}

package main

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/tributary-es/tributary/examples/internal/localnats"
	"github.com/tributary-es/tributary/internal/testserver"
	"github.com/tributary-es/tributary/jetstream"
)

const programVariable = "GITHISTORY_TEST_PROGRAM"

// program is the real one, in a process of its own, which can be killed.
type program struct {
	t      *testing.T
	cmd    *exec.Cmd
	stderr *bufio.Scanner
	said   strings.Builder // what was read of stderr
}

// startProgram starts the program. natsURL is empty for an embedded server.
func startProgram(t *testing.T, natsURL string, args ...string) *program {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &program{t: t, cmd: exec.Command(self, append([]string{"-every", "2ms"}, args...)...)}
	p.cmd.Env = append(os.Environ(), programVariable+"=1", localnats.URLVariable+"="+natsURL)
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.stderr = bufio.NewScanner(stderr)
	t.Cleanup(func() { p.cmd.Process.Kill() }) // harmless where it has ended
	return p
}

// storedSoFar finds the number in a line of progress.
var storedSoFar = regexp.MustCompile(`([0-9,]+) events stored`)

// until reads what the program says until it has stored so many events, and
// reports false if it ended before.
func (p *program) until(events int) bool {
	for p.stderr.Scan() {
		fmt.Fprintln(&p.said, p.stderr.Text())
		if found := storedSoFar.FindStringSubmatch(p.stderr.Text()); found != nil || events == 0 {
			if events == 0 {
				return true
			}
			if n, err := strconv.Atoi(strings.ReplaceAll(found[1], ",", "")); err == nil && n >= events {
				return true
			}
		}
	}
	return false
}

// kill is kill -9.
func (p *program) kill() {
	if err := p.cmd.Process.Kill(); err != nil {
		p.t.Error(err)
	}
	_ = p.cmd.Wait()
}

// end waits for the program and returns its exit code and what it said.
func (p *program) end() (code int, said string) {
	for p.stderr.Scan() {
		fmt.Fprintln(&p.said, p.stderr.Text())
	}
	_ = p.cmd.Wait()
	return p.cmd.ProcessState.ExitCode(), p.said.String()
}

func (p *program) mustEnd() {
	p.t.Helper()
	if code, said := p.end(); code != 0 {
		p.t.Fatalf("exit code %d:\n%s", code, said)
	}
}

// checkDirectory compares what is kept in a directory with git.
func (r *testRepo) checkDirectory(dir string) {
	r.t.Helper()
	r.t.Setenv(localnats.URLVariable, "")
	nc, stop, err := localnats.Connect(r.t.Context(), dir)
	if err != nil {
		r.t.Fatal(err)
	}
	defer stop()
	b, err := jetstream.Open(r.t.Context(), nc, jetstream.Config{})
	if err != nil {
		r.t.Fatal(err)
	}
	defer b.Close()
	r.checkStored(b, true)
}

func TestKillingItAnywhereLosesAndDoublesNothing(t *testing.T) {
	r := newRepo(t)
	r.fastImport(generated{commits: 1500, files: 300, seed: 5})
	all := total(r.changesPerPath())
	dir := t.TempDir()
	rng := rand.New(rand.NewPCG(rand.Uint64(), 0))

	kills := 0
	for ; kills < 30; kills++ {
		p := startProgram(t, "", "-repo", r.dir, "-dir", dir)
		if !p.until(rng.IntN(all / 4)) {
			p.mustEnd()
			break
		}
		p.kill()
	}
	t.Logf("%d changes, killed %d times", all, kills)
	if kills < 2 {
		t.Errorf("killed only %d times", kills)
	}
	startProgram(t, "", "-repo", r.dir, "-dir", dir).mustEnd()
	r.checkDirectory(dir)

	r.fastImport(generated{commits: 20, files: 5, seed: 6}) // another history
	startProgram(t, "", "-repo", r.dir, "-dir", dir).mustEnd()
	r.checkDirectory(dir)
}

func TestTwoProgramsAtOnceDoubleNothing(t *testing.T) {
	r := newRepo(t)
	r.fastImport(generated{commits: 600, files: 60, seed: 7})
	all := total(r.changesPerPath())
	srv := testserver.Single(t)

	killed := startProgram(t, srv.URL(), "-repo", r.dir)
	one := startProgram(t, srv.URL(), "-repo", r.dir)
	two := startProgram(t, srv.URL(), "-repo", r.dir)
	if killed.until(all / 10) {
		killed.kill()
	} else {
		killed.mustEnd()
	}
	one.mustEnd()
	two.mustEnd()

	b, err := jetstream.Open(t.Context(), srv.Connect(t), jetstream.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	r.checkStored(b, true)
}

func TestAnInterruptedProgramEndsCleanly(t *testing.T) {
	r := newRepo(t)
	r.fastImport(generated{commits: 1500, files: 300, seed: 8})
	dir := t.TempDir()
	p := startProgram(t, "", "-repo", r.dir, "-dir", dir)
	if !p.until(1) {
		t.Fatal("it ended before it could be interrupted")
	}
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if code, said := p.end(); code != 130 || !strings.Contains(said, "Interrupted.") {
		t.Errorf("exit code %d, want 130; it said\n%s", code, said)
	}
	startProgram(t, "", "-repo", r.dir, "-dir", dir).mustEnd()
	r.checkDirectory(dir)
}

func TestTheProgramSaysWhatIsWrong(t *testing.T) {
	r := newRepo(t)
	r.change("one", "a")
	dir := t.TempDir()
	_, stop, err := localnats.Connect(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	for _, test := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"-repo", r.dir, "-dir", dir}, 1, "another process is using this directory"},
		{[]string{"-repo", t.TempDir(), "-dir", t.TempDir()}, 1, "not a git repository"},
		{[]string{"-repo", r.dir, "-dir", t.TempDir(), "-file", "b"}, 1, "no event is of this path"},
		{[]string{"a"}, 2, "-repo"},
	} {
		if code, said := startProgram(t, "", test.args...).end(); code != test.code || !strings.Contains(said, test.want) {
			t.Errorf("%q: exit code %d, want %d; it said, without %q,\n%s", test.args, code, test.code, test.want, said)
		}
	}
}

func TestTheProgramPrintsItsAnswers(t *testing.T) {
	r := newRepo(t)
	r.change("one", "a", "b")
	r.change("two", "a")
	var out strings.Builder
	o := options{repo: r.dir, dir: t.TempDir(), top: 1, every: 1e9}
	if err := run(t.Context(), o, &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	if want := "a\n"; !strings.HasSuffix(out.String(), want) || !strings.HasPrefix(out.String(), "3 events in 2 commits: 2 paths") {
		t.Errorf("got\n%s", out.String())
	}
	out.Reset()
	o.file = "./b"
	if err := run(t.Context(), o, &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	if want := "b: 1 event\n"; !strings.HasPrefix(out.String(), want) {
		t.Errorf("got\n%s", out.String())
	}
}

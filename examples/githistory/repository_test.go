package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tributary-es/tributary/examples/internal/localnats"
)

// TestMain makes git, and so the program, the same for everyone: nobody's
// configuration, and no repository but those of the tests. Called by
// [startProgram], it is the program.
func TestMain(m *testing.M) {
	if os.Getenv(programVariable) != "" {
		main()
		return
	}
	for _, v := range os.Environ() {
		if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, "GIT_") || name == localnats.URLVariable {
			os.Unsetenv(name)
		}
	}
	os.Setenv("GIT_CONFIG_GLOBAL", os.DevNull)
	os.Setenv("GIT_CONFIG_NOSYSTEM", "1")
	os.Exit(m.Run())
}

// testRepo is a git repository made by a test.
type testRepo struct {
	t     *testing.T
	dir   string
	clock time.Time // of the next commit
}

func newRepo(t *testing.T, initArgs ...string) *testRepo {
	t.Helper()
	r := &testRepo{t: t, dir: t.TempDir(), clock: time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)}
	r.git(append([]string{"init", "-q", "-b", "main"}, initArgs...)...)
	return r
}

func (r *testRepo) git(args ...string) string {
	r.t.Helper()
	return r.gitWith(nil, args...)
}

func (r *testRepo) gitWith(input []byte, args ...string) string {
	r.t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = r.dir
	cmd.Stdin = bytes.NewReader(input)
	date := r.clock.Format(time.RFC3339)
	cmd.Env = append(os.Environ(),
		"GIT_AUTHOR_NAME=Ada", "GIT_AUTHOR_EMAIL=ada@example.org", "GIT_AUTHOR_DATE="+date,
		"GIT_COMMITTER_NAME=Bob", "GIT_COMMITTER_EMAIL=bob@example.org", "GIT_COMMITTER_DATE="+date)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		r.t.Fatalf("git %s: %v: %s", strings.Join(args, " "), err, stderr.String())
	}
	return strings.TrimSpace(string(out))
}

func (r *testRepo) write(name, content string) {
	r.t.Helper()
	file := filepath.Join(r.dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
		r.t.Fatal(err)
	}
}

// commit commits everything, a minute after the commit before, and returns the
// hash.
func (r *testRepo) commit(subject string) string {
	r.t.Helper()
	r.clock = r.clock.Add(time.Minute)
	r.git("add", "-A")
	r.git("commit", "-q", "--allow-empty", "-m", subject)
	return r.git("rev-parse", "HEAD")
}

// change appends a line to each file and commits.
func (r *testRepo) change(subject string, files ...string) string {
	r.t.Helper()
	for _, name := range files {
		old, err := os.ReadFile(filepath.Join(r.dir, name))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			r.t.Fatal(err)
		}
		r.write(name, string(old)+subject+"\n")
	}
	return r.commit(subject)
}

func (r *testRepo) open() *repository {
	r.t.Helper()
	repo, err := openRepository(r.t.Context(), r.dir)
	if err != nil {
		r.t.Fatal(err)
	}
	return repo
}

// changesPerPath asks git, in another way than the program does, which commits
// changed each path, in the order of the walk: without renames, which are a
// deletion and a creation in the same commit.
func (r *testRepo) changesPerPath() map[string][]string {
	r.t.Helper()
	commits := r.git("rev-list", "--reverse", "--topo-order", "--no-merges", "HEAD")
	out := r.gitWith([]byte(commits+"\n"), "diff-tree", "--stdin", "-r", "--root", "--no-renames", "--name-status", "-z")
	changes := map[string][]string{}
	hash := ""
	fields := strings.Split(strings.TrimSuffix(out, "\x00"), "\x00")
	for i := 0; i < len(fields); i++ {
		if len(fields[i]) == 40 {
			hash = fields[i]
			continue
		}
		i++ // past the status
		changes[fields[i]] = append(changes[fields[i]], hash)
	}
	return changes
}

func TestOpenRepositoryTellsWhatIsWrong(t *testing.T) {
	empty := newRepo(t)
	damaged := newRepo(t)
	damaged.change("one", "a")
	missing := filepath.Join(t.TempDir(), "no", "where")
	for _, test := range []struct{ name, dir, path, want string }{
		{"no repository", t.TempDir(), "", "not a git repository"},
		{"no directory", missing, "", missing},
		{"no commits", empty.dir, "", "has no commits"},
		{"no git", damaged.dir, t.TempDir(), "must be installed and in PATH"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.path != "" {
				t.Setenv("PATH", test.path)
			}
			_, err := openRepository(t.Context(), test.dir)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("got %v, want one with %q", err, test.want)
			}
		})
	}
}

func TestAGitThatFailsMidwayIsAnError(t *testing.T) {
	r := newRepo(t)
	first := r.change("one", "a")
	r.change("two", "b")
	repo := r.open()
	// The walk reaches the first commit's tree before it misses the second's.
	tree := r.git("rev-parse", "HEAD^{tree}")
	if err := os.Remove(filepath.Join(r.dir, ".git", "objects", tree[:2], tree[2:])); err != nil {
		t.Fatal(err)
	}
	var walked []string
	var failure error
	for c, err := range repo.walk(t.Context()) {
		if failure != nil {
			t.Fatal("the walk goes on after an error")
		}
		if failure = err; err == nil {
			walked = append(walked, c.hash)
		}
	}
	if failure == nil || !strings.Contains(failure.Error(), tree) {
		t.Errorf("the walk ends with %v, want what git says of %s", failure, tree)
	}
	if len(walked) > 1 || len(walked) == 1 && walked[0] != first {
		t.Errorf("walked %q before", walked)
	}
}

func TestBreakingOutOfAWalkEndsGit(t *testing.T) {
	r := newRepo(t)
	r.fastImport(generated{commits: 400, files: 40})
	for range 3 {
		for _, err := range r.open().walk(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			break // Close waits for git, so that a git left behind would hang here
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var failure error
	for _, err := range r.open().walk(ctx) {
		cancel()
		failure = err
	}
	if failure != nil && !errors.Is(failure, context.Canceled) {
		t.Errorf("a cancelled walk ends with %v", failure)
	}
}

func TestTheSameHistoryUnderAnyConfiguration(t *testing.T) {
	r := newRepo(t)
	r.write("dir/a", "1\n2\n3\n4\n5\n6\n7\n8\n")
	r.commit("one")
	r.write("b", "1\n2\n3\n4\n5\n6\n7\n8\n")
	r.commit("a copy")
	r.git("mv", "dir/a", "dir/ä")
	r.commit("renamed")
	want := fmt.Sprint(r.walked(r.dir))

	config := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(config, []byte(`
[log]
	showRoot = false
	showSignature = true
	follow = true
	decorate = full
	mailmap = true
[diff]
	relative = true
	renames = copies
	renameLimit = 1
	algorithm = patience
	noprefix = true
	mnemonicPrefix = true
	external = false
[color]
	ui = always
[core]
	quotePath = true
	pager = false
[i18n]
	logOutputEncoding = UTF-16
`), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("GIT_CONFIG_GLOBAL", config)
	t.Setenv("GIT_EXTERNAL_DIFF", "false")
	for _, dir := range []string{r.dir, filepath.Join(r.dir, "dir"), filepath.Join(r.dir, ".git")} {
		if got := fmt.Sprint(r.walked(dir)); got != want {
			t.Errorf("from %s:\n%s\nwant\n%s", dir, got, want)
		}
	}
	// As inside a hook of another repository.
	other := newRepo(t)
	other.change("one", "x")
	t.Setenv("GIT_DIR", filepath.Join(other.dir, ".git"))
	if got := fmt.Sprint(r.walked(r.dir)); got != want {
		t.Errorf("with GIT_DIR of another repository:\n%s\nwant\n%s", got, want)
	}
}

func (r *testRepo) walked(dir string) []commit {
	r.t.Helper()
	repo, err := openRepository(r.t.Context(), dir)
	if err != nil {
		r.t.Fatal(err)
	}
	var commits []commit
	for c, err := range repo.walk(r.t.Context()) {
		if err != nil {
			r.t.Fatal(err)
		}
		commits = append(commits, c)
	}
	if len(commits) != repo.commits {
		r.t.Errorf("walked %d commits, git counts %d", len(commits), repo.commits)
	}
	return commits
}

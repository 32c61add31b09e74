package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tributary-es/tributary/examples/internal/localnats"
)

// TestMain has git be the same for everyone: nobody's configuration. Called by
// [startProgram], this is the program.
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
	t       *testing.T
	dir     string
	random  *rand.Rand
	files   []string
	commits int
}

func newRepo(t *testing.T) *testRepo {
	t.Helper()
	r := &testRepo{t: t, dir: t.TempDir(), random: rand.New(rand.NewPCG(1, 2))}
	r.git(nil, "init", "-q", "-b", "main")
	return r
}

func (r *testRepo) git(input []byte, args ...string) string {
	r.t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = r.dir
	cmd.Stdin = bytes.NewReader(input)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		r.t.Fatalf("git %s: %v: %s", strings.Join(args, " "), err, stderr.String())
	}
	return string(out)
}

// grow makes up more commits, by several authors on several days, in which files
// are created, changed, renamed and deleted.
func (r *testRepo) grow(commits int) {
	r.t.Helper()
	var b bytes.Buffer
	for n := range commits {
		r.commits++
		i := r.commits
		fmt.Fprintf(&b, "commit refs/heads/main\n")
		at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(i) * 47 * time.Minute).Unix()
		for _, who := range []string{"author", "committer"} {
			fmt.Fprintf(&b, "%s Author %d <A%d@example.org> %d +0900\n", who, i%7, i%7, at)
		}
		subject := fmt.Sprint("commit ", i)
		fmt.Fprintf(&b, "data %d\n%s\n", len(subject), subject)
		if n == 0 && i > 1 {
			fmt.Fprintln(&b, "from refs/heads/main^0")
		}
		touched := map[int]bool{}
		for range 1 + r.random.IntN(4) {
			op, pick := r.random.IntN(20), 0
			if len(r.files) > 0 {
				if pick = r.random.IntN(len(r.files)); touched[pick] {
					continue
				}
			}
			switch {
			case len(r.files) == 0 || len(r.files) < 200 && op < 6:
				pick = len(r.files)
				r.files = append(r.files, fmt.Sprintf("dir %d/file %d.txt", pick%5, i*10+len(touched)))
				r.write(&b, r.files[pick])
			case op == 18:
				to := fmt.Sprintf("moved/%d.%d", i, pick)
				fmt.Fprintf(&b, "R %q %q\n", r.files[pick], to)
				r.files[pick] = to
			default:
				r.write(&b, r.files[pick])
			}
			touched[pick] = true
		}
		b.WriteByte('\n')
	}
	r.git(b.Bytes(), "fast-import", "--quiet")
}

func (r *testRepo) write(b *bytes.Buffer, file string) {
	text := strings.Repeat(fmt.Sprintln("line", r.random.IntN(1e6)), 3)
	fmt.Fprintf(b, "M 100644 inline %q\ndata %d\n%s\n", file, len(text), text)
}

// changed asks git, in another way than githistory does, how often each author
// changed each file on each day: what is in the rows of the read model, but for
// the changes and the position.
func (r *testRepo) changed() map[row]int {
	r.t.Helper()
	changes := map[row]int{}
	key := r.git(nil, "rev-list", "--max-parents=0", "HEAD")[:12]
	escaped := strings.NewReplacer("/", ".", ".", ":", " ", "=20") // as githistory's names.go says
	out := r.git(nil, "log", "--no-merges", "--no-renames", "--name-only", "-z", "--format=%x00author %ae %at")
	var day, author string
	for field := range strings.SplitSeq(out, "\x00") {
		field = strings.TrimPrefix(field, "\n")
		if who, ok := strings.CutPrefix(field, "author "); ok {
			who, _, _ = strings.Cut(who, "\n")
			email, at, _ := strings.Cut(who, " ")
			seconds, err := strconv.ParseInt(at, 10, 64)
			if err != nil {
				r.t.Fatalf("git log said %q", field)
			}
			day, author = time.Unix(seconds, 0).UTC().Format(time.DateOnly), strings.ToLower(email)
		} else if field != "" {
			changes[row{Day: day, Author: author, File: "git." + key + "." + escaped.Replace(field)}]++
		}
	}
	return changes
}

// importInto writes the history as events, by examples/githistory.
func (r *testRepo) importInto(args []string, env ...string) {
	r.t.Helper()
	program := filepath.Join(r.t.TempDir(), "githistory")
	if out, err := exec.Command("go", "build", "-o", program, "../githistory").CombinedOutput(); err != nil {
		r.t.Fatalf("building githistory: %v: %s", err, out)
	}
	cmd := exec.Command(program, append([]string{"-repo", r.dir, "-top", "0"}, args...)...)
	cmd.Env = append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		r.t.Fatalf("githistory: %v: %s", err, out)
	}
}

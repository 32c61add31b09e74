package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/backend/memory"
)

// imported runs an import and returns how many events it stored and found.
func (r *testRepo) imported(b backend.Backend) (appended, known, foreign int) {
	r.t.Helper()
	var p progress
	im := importer{backend: b, repository: r.open(), progress: &p}
	if err := im.run(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
	if got, want := int(p.commits.Load()), im.repository.commits; got != want {
		r.t.Errorf("%d commits settled, git counts %d", got, want)
	}
	return int(p.appended.Load()), int(p.known.Load()), len(im.foreign)
}

// storedPerPath reads the store and returns the commits of each path's events,
// in version order.
func storedPerPath(t *testing.T, b backend.Backend, key string) map[string][]string {
	t.Helper()
	stored := map[string][]string{}
	versions := map[string]uint64{}
	for events, err := range backend.ReadAll(t.Context(), b, backend.ReadAllOptions{Under: repositoryPrefix(key)}, uuid.Nil) {
		if err != nil {
			t.Fatal(err)
		}
		for _, event := range events {
			e, err := decode(event)
			if err != nil {
				t.Fatal(err)
			}
			path := string(e.Path)
			versions[path]++
			if event.StreamVersion != versions[path] || event.StreamUUID != streamName(key, path) {
				t.Fatalf("%q: version %d of %s, want version %d of %s",
					path, event.StreamVersion, event.StreamUUID, versions[path], streamName(key, path))
			}
			stored[path] = append(stored[path], e.Commit)
		}
	}
	return stored
}

// checkStored compares the store with git: the same changes of every path, and
// in the same order, unless that has changed since they were stored.
func (r *testRepo) checkStored(b backend.Backend, ordered bool) {
	r.t.Helper()
	want, got := r.changesPerPath(), storedPerPath(r.t, b, r.open().key())
	for _, path := range slices.Sorted(maps.Keys(want)) {
		if !ordered {
			slices.Sort(want[path])
			slices.Sort(got[path])
		}
		if !slices.Equal(got[path], want[path]) {
			r.t.Errorf("%q: stored\n%s\ngit has\n%s", path, strings.Join(got[path], "\n"), strings.Join(want[path], "\n"))
		}
		delete(got, path)
	}
	for path := range got {
		r.t.Errorf("%q is stored, but not in git", path)
	}
}

func total(perPath map[string][]string) int {
	n := 0
	for _, commits := range perPath {
		n += len(commits)
	}
	return n
}

func TestRunAgainStoresOnlyWhatIsNew(t *testing.T) {
	r := newRepo(t)
	r.fastImport(generated{commits: 300, files: 30})
	r.git("reset", "-q", "--hard")
	b := memory.New()

	appended, known, _ := r.imported(b)
	if want := total(r.changesPerPath()); appended != want || known != 0 {
		t.Errorf("first run: %d stored, %d there before, want %d and 0", appended, known, want)
	}
	before := appended
	if appended, known, _ = r.imported(b); appended != 0 || known != before {
		t.Errorf("second run: %d stored, %d there before, want 0 and %d", appended, known, before)
	}
	r.change("new", "a", "b")
	r.change("new too", "a")
	if appended, known, _ = r.imported(b); appended != 3 || known != before {
		t.Errorf("after two commits: %d stored, %d there before, want 3 and %d", appended, known, before)
	}
	r.checkStored(b, true)
}

func TestAMergedBranchThatChangesTheWalkDoublesNothing(t *testing.T) {
	r := newRepo(t)
	r.change("base", "a", "b")
	r.git("checkout", "-q", "-b", "side")
	r.change("side 1", "a")
	r.change("side 2", "a", "c")
	r.git("checkout", "-q", "main")
	for i := range 3 {
		r.change(fmt.Sprintf("main %d", i), "b", fmt.Sprintf("d%d", i))
	}
	r.change("main touches a", "x")
	b := memory.New()
	r.imported(b)
	before := r.git("rev-list", "--reverse", "--topo-order", "--no-merges", "HEAD")

	r.clock = r.clock.Add(1)
	r.git("checkout", "-q", "side")
	r.git("merge", "-q", "--no-ff", "-m", "merge", "main")
	r.git("checkout", "-q", "main")
	r.git("merge", "-q", "--ff-only", "side")
	r.change("after", "a", "b")
	after := r.git("rev-list", "--reverse", "--topo-order", "--no-merges", "HEAD")
	if strings.HasPrefix(after, before) {
		t.Fatalf("the merge was to bring commits into the middle of the walk; before\n%s\nafter\n%s", before, after)
	}
	if appended, _, foreign := r.imported(b); appended != 5 || foreign != 0 {
		t.Errorf("%d stored, %d foreign, want 5 (3 of the branch and 2 after it) and 0", appended, foreign)
	}
	r.checkStored(b, false)
	if appended, _, _ := r.imported(b); appended != 0 {
		t.Errorf("run again: %d stored", appended)
	}
}

func TestRewrittenHistoryIsToldApart(t *testing.T) {
	r := newRepo(t)
	r.change("one", "a")
	r.change("two", "a", "b")
	r.change("three", "a")
	b := memory.New()
	r.imported(b)
	r.clock = r.clock.Add(1e9)
	r.git("reset", "-q", "--hard", "HEAD~2")
	r.change("two, otherwise", "a", "b")

	appended, known, foreign := r.imported(b)
	if appended != 2 || known != 1 || foreign != 3 {
		t.Errorf("%d stored, %d there before, %d foreign, want 2, 1 and 3", appended, known, foreign)
	}
}

func TestRepositoriesShareAStore(t *testing.T) {
	b := memory.New()
	one, two := newRepo(t), newRepo(t)
	two.clock = two.clock.Add(1e9)
	one.change("one", "a")
	two.change("two", "a")
	clone := &testRepo{t: t, dir: t.TempDir()}
	clone.git("clone", "-q", "--bare", one.dir, ".")
	one.imported(b)
	two.imported(b)
	if appended, known, _ := clone.imported(b); appended != 0 || known != 1 {
		t.Errorf("a bare clone: %d stored, %d there before, want 0 and 1", appended, known)
	}
	one.checkStored(b, true)
	two.checkStored(b, true)

	two.change("more", "a")
	shallow := &testRepo{t: t, dir: t.TempDir()}
	shallow.git("clone", "-q", "--depth", "1", "file://"+two.dir, ".")
	shallow.imported(b)
	shallow.checkStored(b, true)
	two.imported(b)
	two.checkStored(b, true)
}

func TestMergesAndEmptyCommits(t *testing.T) {
	r := newRepo(t)
	r.commit("empty")
	r.change("base", "a")
	r.git("checkout", "-q", "-b", "side")
	r.change("side", "b")
	r.git("checkout", "-q", "main")
	r.change("main", "c")
	r.git("merge", "-q", "--no-ff", "--no-commit", "side")
	r.write("by hand", "in the merge")
	r.commit("merge")
	b := memory.New()
	if appended, _, _ := r.imported(b); appended != 3 {
		t.Errorf("%d stored, want 3: a, b and c, once each", appended)
	}
	r.checkStored(b, true)
}

func TestSeveralImportersAtOnce(t *testing.T) {
	r := newRepo(t)
	r.fastImport(generated{commits: 500, files: 12, seed: 3})
	b := memory.New()
	var wg sync.WaitGroup
	for range 4 {
		repo := r.open()
		wg.Go(func() {
			im := importer{backend: b, repository: repo, progress: &progress{}}
			if err := im.run(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	r.checkStored(b, true)
}

// rivalled is a Backend to which another appends in the middle.
type rivalled struct {
	*memory.Backend
	appends int
	at      int // this append
	rival   func()
}

func (r *rivalled) Append(ctx context.Context, streamUUID string, expected backend.ExpectedVersion, events []backend.UnsavedEvent, id uuid.UUID) (backend.AppendResult, error) {
	if r.appends++; r.appends == r.at {
		r.rival()
	}
	return r.Backend.Append(ctx, streamUUID, expected, events, id)
}

func TestAnotherWalkThatComesFirstDoublesNothing(t *testing.T) {
	r := newRepo(t)
	r.change("base", "a", "b")
	r.git("checkout", "-q", "-b", "side")
	r.change("side 1", "a", "c")
	r.change("side 2", "a", "c")
	r.git("checkout", "-q", "main")
	r.change("main 1", "a", "b")
	r.change("main 2", "a", "d")
	shorter := &testRepo{t: t, dir: t.TempDir()}
	shorter.git("clone", "-q", "--bare", r.dir, ".")
	r.clock = r.clock.Add(1)
	r.git("checkout", "-q", "side")
	r.git("merge", "-q", "--no-ff", "-s", "ours", "-m", "merge", "main")
	r.git("checkout", "-q", "main")
	r.git("merge", "-q", "--ff-only", "side")
	r.change("after", "a", "d")

	conflicts := 0
	for at := 1; at <= 12; at++ {
		b := &rivalled{Backend: memory.New(), at: at}
		b.rival = func() { shorter.imported(b.Backend) }
		appended, known, foreign := r.imported(b)
		if all := total(r.changesPerPath()); appended+known != all || foreign != 0 {
			t.Errorf("rival at append %d: %d stored, %d there before, %d foreign, want %d and 0", at, appended, known, foreign, all)
		}
		r.checkStored(b.Backend, false)
		if known > 0 {
			conflicts++
		}
	}
	if conflicts == 0 {
		t.Error("the other never came first")
	}
}

func TestAnEventStreamThatIsShorterThanItWasIsRefused(t *testing.T) {
	r := newRepo(t)
	r.change("one", "a")
	r.change("two", "a")
	r.change("three", "a")
	b := &rivalled{Backend: memory.New(), at: 3}
	name := streamName(r.open().key(), "a")
	b.rival = func() {
		if err := b.DeleteStream(t.Context(), backend.Stream{UUID: name}, uuid.Nil); err != nil {
			t.Error(err)
		}
	}
	im := importer{backend: b, repository: r.open(), progress: &progress{}}
	if err := im.run(t.Context()); err == nil || !strings.Contains(err.Error(), "shorter") {
		t.Errorf("got %v", err)
	}
}

// flaky is a Backend whose appends fail now and then, before they are stored, or
// after, as when a process is killed.
type flaky struct {
	*memory.Backend
	mu  sync.Mutex
	rng *rand.Rand
}

var errFlaky = errors.New("killed")

func (f *flaky) Append(ctx context.Context, streamUUID string, expected backend.ExpectedVersion, events []backend.UnsavedEvent, id uuid.UUID) (backend.AppendResult, error) {
	f.mu.Lock()
	fate := f.rng.IntN(80)
	f.mu.Unlock()
	if fate == 0 {
		return backend.AppendResult{}, errFlaky
	}
	res, err := f.Backend.Append(ctx, streamUUID, expected, events, id)
	if fate == 1 {
		return backend.AppendResult{}, errFlaky
	}
	return res, err
}

func TestFailingAnywhereLosesAndDoublesNothing(t *testing.T) {
	r := newRepo(t)
	r.fastImport(generated{commits: 400, files: 40, seed: 4})
	b := &flaky{Backend: memory.New(), rng: rand.New(rand.NewPCG(1, 2))}
	failures := 0
	for {
		im := importer{backend: b, repository: r.open(), progress: &progress{}}
		err := im.run(t.Context())
		if err == nil {
			break
		}
		if failures++; !errors.Is(err, errFlaky) || failures > 1000 {
			t.Fatal(err)
		}
	}
	if failures < 3 {
		t.Errorf("only %d failures", failures)
	}
	t.Logf("%d failures", failures)
	r.checkStored(b, true)
}

func TestCancellingEndsAnImport(t *testing.T) {
	r := newRepo(t)
	r.fastImport(generated{commits: 200, files: 20})
	ctx, cancel := context.WithCancel(t.Context())
	b := &cancelling{Backend: memory.New(), cancel: cancel}
	im := importer{backend: b, repository: r.open(), progress: &progress{}}
	if err := im.run(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// cancelling is a Backend that cancels who calls it.
type cancelling struct {
	*memory.Backend
	cancel context.CancelFunc
}

func (c *cancelling) Append(ctx context.Context, streamUUID string, expected backend.ExpectedVersion, events []backend.UnsavedEvent, id uuid.UUID) (backend.AppendResult, error) {
	c.cancel()
	return backend.AppendResult{}, fmt.Errorf("%w: %w", backend.ErrOutcomeUnknown, ctx.Err())
}

func TestATruncatedEventStreamIsRefused(t *testing.T) {
	r := newRepo(t)
	r.change("one", "a")
	r.change("two", "a")
	r.change("three", "a")
	b := memory.New()
	repo := r.open()
	for c, err := range repo.walk(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		changes, err := repo.changes(c)
		if err != nil {
			t.Fatal(err)
		}
		// One by one: what was appended together stays as long as a part of it.
		if _, err := backend.Append(t.Context(), b, changes[0].stream, backend.AnyVersion(), []backend.UnsavedEvent{changes[0].event}, uuid.Nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Truncate(t.Context(), streamName(repo.key(), "a"), 2, uuid.Nil); err != nil {
		t.Fatal(err)
	}
	im := importer{backend: b, repository: repo, progress: &progress{}}
	if err := im.run(t.Context()); err == nil || !strings.Contains(err.Error(), "truncated") {
		t.Errorf("got %v", err)
	}
}

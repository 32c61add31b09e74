package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

// repository is a git repository at the commit that HEAD named when it was
// opened: what is committed meanwhile is for the next run.
type repository struct {
	dir     string // as given; empty: the one the process is in
	head    string // the commit's hash
	root    string // the hash of the commit that the history began with
	commits int    // how many the walk has
}

// openRepository finds the repository in dir, with or without a work tree. The
// error has what git itself said.
func openRepository(ctx context.Context, dir string) (*repository, error) {
	r := &repository{dir: dir}
	if _, err := r.line(ctx, "rev-parse", "--git-dir"); err != nil {
		return nil, err
	}
	var err error
	if r.head, err = r.line(ctx, "rev-parse", "--quiet", "--verify", "HEAD^{commit}"); err != nil {
		return nil, fmt.Errorf("the repository has no commits: %w", err)
	}
	// A history can have several roots, once another project's was merged into
	// it. Following first parents leads to one, and to the same one after every
	// merge into this branch.
	if r.root, err = r.line(ctx, "rev-list", "--first-parent", "--max-parents=0", r.head); err != nil {
		return nil, err
	}
	count, err := r.line(ctx, "rev-list", "--count", "--no-merges", r.head)
	if err != nil {
		return nil, err
	}
	if r.commits, err = strconv.Atoi(count); err != nil {
		return nil, fmt.Errorf("git rev-list --count said %q", count)
	}
	return r, nil
}

// key identifies the repository in names of event streams: clones share it,
// different projects don't. (The root of a shallow clone is where it was cut
// off, so one counts as a repository of its own.)
func (r *repository) key() string { return r.root[:12] }

// walk yields the commits of the history, each after its parents, with what
// each one changed. At no time is more than one commit in memory.
func (r *repository) walk(ctx context.Context) iter.Seq2[commit, error] {
	return func(yield func(commit, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel() // ends git where the caller breaks out
		out, err := r.start(ctx, logArguments(r.head)...)
		if err != nil {
			yield(commit{}, err)
			return
		}
		defer out.Close()
		for c, err := range parseLog(out) {
			if !yield(c, err) {
				return
			}
		}
	}
}

// line runs git and returns the one line that it prints.
func (r *repository) line(ctx context.Context, args ...string) (string, error) {
	out, err := r.start(ctx, args...)
	if err != nil {
		return "", err
	}
	defer out.Close()
	text, err := io.ReadAll(out)
	return strings.TrimSpace(string(text)), err
}

// start starts git and returns what it prints.
func (r *repository) start(ctx context.Context, args ...string) (*gitOutput, error) {
	all := []string{"--no-replace-objects"} // what was replaced locally is other people's history all the same
	if r.dir != "" {
		all = append(all, "-C", r.dir)
	}
	cmd := exec.CommandContext(ctx, "git", append(all, args...)...)
	cmd.Env = r.environment()
	out := &gitOutput{ctx: ctx, cmd: cmd, name: args[0]}
	cmd.Stderr = &out.stderr
	var err error
	if out.stdout, err = cmd.StdoutPipe(); err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			return nil, fmt.Errorf("this program runs git, which must be installed and in PATH: %w", err)
		}
		return nil, fmt.Errorf("starting git: %w", err)
	}
	return out, nil
}

// environment is this process's, but where a directory is given, for that one:
// inside a hook, say, GIT_DIR names a repository and git would use that.
func (r *repository) environment() []string {
	if r.dir == "" {
		return nil
	}
	var env []string
	for _, v := range os.Environ() {
		switch name, _, _ := strings.Cut(v, "="); name {
		case "GIT_DIR", "GIT_WORK_TREE", "GIT_COMMON_DIR", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY",
			"GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_NAMESPACE", "GIT_SHALLOW_FILE", "GIT_GRAFT_FILE":
		default:
			env = append(env, v)
		}
	}
	return env
}

// gitOutput is what a git process prints. It ends in [io.EOF] only where git was
// successful: a git that failed midway must not look like one that was done.
type gitOutput struct {
	ctx    context.Context // the call's, to tell its end from git's own failures
	cmd    *exec.Cmd
	name   string // the git command, for errors
	stdout io.ReadCloser
	stderr tail
	end    error // what Read ends with, once git was waited for
}

func (o *gitOutput) Read(p []byte) (int, error) {
	if o.end != nil {
		return 0, o.end
	}
	n, err := o.stdout.Read(p)
	if n > 0 || err == nil {
		return n, nil
	}
	if failure := o.wait(); failure != nil {
		err = failure
	}
	o.end = err
	return 0, err
}

// Close ends git where it still runs.
func (o *gitOutput) Close() error {
	if o.end == nil {
		_ = o.cmd.Process.Kill()
		_ = o.cmd.Wait()
		o.end = os.ErrClosed
	}
	return nil
}

func (o *gitOutput) wait() error {
	err := o.cmd.Wait()
	switch {
	case err == nil:
		return nil
	case o.ctx.Err() != nil:
		return context.Cause(o.ctx)
	}
	if said := strings.TrimSpace(string(o.stderr)); said != "" {
		return fmt.Errorf("git %s: %w: %s", o.name, err, said)
	}
	return fmt.Errorf("git %s: %w", o.name, err)
}

// tail keeps the end of what is written to it: git says last what it died of.
type tail []byte

const tailBytes = 4 << 10

func (t *tail) Write(p []byte) (int, error) {
	*t = append(*t, p...)
	if over := len(*t) - tailBytes; over > 0 {
		*t = append((*t)[:0], (*t)[over:]...)
	}
	return len(p), nil
}

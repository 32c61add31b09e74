package report

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
)

// Fact is one line about the machine, or a version.
type Fact struct{ Name, Value string }

// Machine describes the machine, as far as it tells (which only Linux does).
func Machine() []Fact {
	return []Fact{
		{"CPU", orUnknown(procField("/proc/cpuinfo", "model name"))},
		{"Cores", strconv.Itoa(runtime.NumCPU())},
		{"Memory", orUnknown(memory())},
		{"Kernel", orUnknown(strings.TrimSpace(runtime.GOOS + " " + line("/proc/sys/kernel/osrelease")))},
		{"File system of the stores", orUnknown(fileSystem(os.TempDir()))},
		{"Go", runtime.Version() + " " + runtime.GOARCH},
	}
}

func orUnknown(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}

// line returns a file's first line; empty where there is none.
func line(path string) string {
	text, _ := os.ReadFile(path)
	first, _, _ := strings.Cut(string(text), "\n")
	return first
}

// procField returns the first value of a name in a file of lines "name: value".
func procField(path, name string) string {
	text, _ := os.ReadFile(path)
	return field(text, name)
}

func field(text []byte, name string) string {
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		key, value, found := strings.Cut(lines.Text(), ":")
		if found && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func memory() string {
	kib, err := strconv.ParseFloat(strings.TrimSuffix(procField("/proc/meminfo", "MemTotal"), " kB"), 64)
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%.1f GiB", kib/(1<<20))
}

// fileSystem returns the type of file system that a directory is on: on one in
// memory, waiting for the disk costs nothing.
func fileSystem(dir string) string {
	mounts, _ := os.ReadFile("/proc/mounts")
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real
	}
	return mountedOn(string(mounts), dir)
}

// mountedOn returns the type of the mount that a path is on, of a table of
// mounts as Linux has it; of those at the same place the last one is on top.
func mountedOn(mounts, path string) string {
	longest, kind := 0, ""
	for mount := range strings.Lines(mounts) {
		fields := strings.Fields(mount)
		if len(fields) < 3 {
			continue
		}
		at := strings.TrimSuffix(fields[1], "/") + "/"
		if len(at) >= longest && strings.HasPrefix(path+"/", at) {
			longest, kind = len(at), fields[2]
		}
	}
	return kind
}

// Commit returns the commit that is checked out, and whether it is what was
// measured.
func Commit(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "git", "rev-parse", "--short=12", "HEAD").Output()
	if err != nil {
		return "unknown"
	}
	commit := strings.TrimSpace(string(out))
	// What is written here, and documents, don't make another program.
	changed, err := exec.CommandContext(ctx, "git", "status", "--porcelain", "--", ":/*.go", ":/**/*.go", ":/**/go.mod", ":/go.mod").Output()
	if err != nil || len(changed) > 0 {
		commit += " with changes"
	}
	return commit
}

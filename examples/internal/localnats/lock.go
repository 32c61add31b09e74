package localnats

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// ErrInUse comes when another process has the directory: two servers on one
// store would write over each other's files, and nats-server does not check.
var ErrInUse = errors.New("another process is using this directory")

const lockName = "in-use.lock"

// lock takes dir, which it makes where it is missing, for this process. The
// system gives it back when the process ends, however it ends; so the file may
// stay, and says nothing by being there.
func lock(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	switch taken, err := tryLock(file); {
	case err != nil:
		file.Close()
		return nil, fmt.Errorf("locking %s: %w", file.Name(), err)
	case !taken:
		defer file.Close()
		return nil, fmt.Errorf("%w: %s%s", ErrInUse, dir, holder(file))
	}
	// For the error of the next one only; nothing depends on it.
	if err := file.Truncate(0); err == nil {
		_, _ = file.WriteString(strconv.Itoa(os.Getpid()))
	}
	return func() { file.Close() }, nil
}

// holder names the process that has the lock, as far as the file says.
func holder(file *os.File) string {
	text := make([]byte, 20)
	n, _ := file.ReadAt(text, 0)
	pid, err := strconv.Atoi(strings.TrimSpace(string(text[:n])))
	if err != nil {
		return ""
	}
	return fmt.Sprintf(" (process %d)", pid)
}

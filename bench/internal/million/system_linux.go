package million

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strconv"
	"syscall"
)

// memoryOf reads what a process has of memory from /proc/<pid>/status.
func memoryOf(pid int) (Memory, error) {
	path := fmt.Sprintf("/proc/%d/status", pid)
	status, err := os.ReadFile(path)
	if err != nil {
		return Memory{}, err
	}
	var m Memory
	lines := bufio.NewScanner(bytes.NewReader(status))
	for lines.Scan() {
		fields := bytes.Fields(lines.Bytes())
		if len(fields) != 3 || string(fields[2]) != "kB" {
			continue
		}
		kB, err := strconv.ParseInt(string(fields[1]), 10, 64)
		if err != nil {
			return Memory{}, fmt.Errorf("%s: %w", path, err)
		}
		switch string(fields[0]) {
		case "VmRSS:":
			m.RSS = kB << 10
		case "VmHWM:":
			m.Peak = kB << 10
		}
	}
	return m, lines.Err()
}

// freeSpace is how many bytes the file system of dir has left for users.
func freeSpace(dir string) (free int64, known bool) {
	var stat syscall.Statfs_t
	if err := syscall.Statfs(dir, &stat); err != nil {
		return 0, false
	}
	return int64(stat.Bavail) * stat.Bsize, true
}

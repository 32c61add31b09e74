//go:build !linux

package million

func memoryOf(int) (Memory, error) { return Memory{}, nil }

func freeSpace(string) (free int64, known bool) { return 0, false }

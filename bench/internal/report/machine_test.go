package report

import "testing"

func TestField(t *testing.T) {
	text := []byte("processor\t: 0\nmodel name\t: AMD EPYC: the second\nmodel name\t: another\nempty\n")
	for name, want := range map[string]string{"model name": "AMD EPYC: the second", "processor": "0", "missing": ""} {
		if got := field(text, name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

func TestTheDeepestMountHoldsAPath(t *testing.T) {
	const mounts = "/dev/vda / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\ndevtmpfs /dev devtmpfs rw 0 0\n/dev/vdb /tmp/big ext4 rw 0 0\n/dev/vdc /tmp/big xfs rw 0 0\nodd\n"
	for path, want := range map[string]string{"/tmp": "tmpfs", "/tmp/a": "tmpfs", "/tmpfile": "ext4", "/var": "ext4", "/tmp/big/a": "xfs"} {
		if got := mountedOn(mounts, path); got != want {
			t.Errorf("%s is on %s, want %s", path, got, want)
		}
	}
}

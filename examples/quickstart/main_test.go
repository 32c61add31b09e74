package main

import (
	"errors"
	"strings"
	"testing"

	"github.com/tributary-es/tributary/examples/internal/localnats"
	"github.com/tributary-es/tributary/internal/testserver"
)

func TestTheSecondRunGoesOnFromWhatIsStored(t *testing.T) {
	t.Setenv(localnats.URLVariable, "")
	runTwice(t, t.TempDir())
}

func TestWithAServerOfYourOwn(t *testing.T) {
	t.Setenv(localnats.URLVariable, testserver.Single(t).URL())
	runTwice(t, "not used")
}

func runTwice(t *testing.T, dir string) {
	t.Helper()
	for _, want := range [][]string{{
		"account-42 is at version 0.",
		"Deposited 100 and withdrew 30: now at version 2.",
		"Withdrawing 20 at version 0 was refused, as the account is at version 2.",
		"Withdrew 20 after looking again: now at version 3.",
		`version 1, stored at position 1: Deposited {"euros":100}`,
		`version 2, stored at position 1: Withdrawn {"euros":30}`,
		`version 3, stored at position 2: Withdrawn {"euros":20}`,
		"The balance after 3 events is 50 euros.",
	}, {
		"account-42 is at version 3.",
		"Withdrawing 20 at version 3 was refused, as the account is at version 5.",
		`version 4, stored at position 3: Deposited {"euros":100}`,
		"The balance after 6 events is 100 euros.",
	}} {
		var out strings.Builder
		if err := run(t.Context(), &out, dir); err != nil {
			t.Fatal(err)
		}
		for _, line := range want {
			if !strings.Contains(out.String(), line+"\n") {
				t.Errorf("no line %q in\n%s", line, out.String())
			}
		}
	}
}

func TestTwoProgramsCanNotShareADirectory(t *testing.T) {
	t.Setenv(localnats.URLVariable, "")
	dir := t.TempDir()
	_, stop, err := localnats.Connect(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	if err := run(t.Context(), t.Output(), dir); !errors.Is(err, localnats.ErrInUse) {
		t.Errorf("got %v, want ErrInUse", err)
	}
}

package memory_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/google/uuid"
	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/backend/memory"
)

func Example() {
	ctx := context.Background()
	b := memory.New()

	opened := []backend.UnsavedEvent{
		{EventType: "Opened", Data: []byte(`{"owner":"Ada"}`)},
		{EventType: "Deposited", Data: []byte(`{"amount":100}`)},
	}
	res, err := backend.Append(ctx, b, "account-42", backend.NoStream(), opened, uuid.Nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("version", res.Version)

	// Someone else was faster: the account is not at version 1 any more.
	withdrawn := []backend.UnsavedEvent{{EventType: "Withdrawn", Data: []byte(`{"amount":30}`)}}
	_, err = backend.Append(ctx, b, "account-42", backend.ExactVersion(1), withdrawn, uuid.Nil)
	if wrong, ok := errors.AsType[*backend.WrongExpectedVersionError](err); ok {
		fmt.Println("conflict: the version is", wrong.Actual)
	}

	for batch, err := range b.StreamForward(ctx, "account-42", 100, uuid.Nil) {
		if err != nil {
			log.Fatal(err)
		}
		for _, e := range batch {
			fmt.Println(e.StreamVersion, e.EventType, string(e.Data))
		}
	}
	// Output:
	// version 2
	// conflict: the version is 2
	// 1 Opened {"owner":"Ada"}
	// 2 Deposited {"amount":100}
}

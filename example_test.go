package tributary_test

import (
	"fmt"

	"github.com/tributary-es/tributary"
)

func ExampleSubjects_Subject() {
	var subjects tributary.Subjects // with the prefix "events"

	for _, name := range []string{"account-42", "orders.eu.2026", "a..b", "100%", "two words"} {
		subject, err := subjects.Subject(name)
		if err != nil {
			fmt.Println(err)
			continue
		}
		fmt.Println(subject)
	}
	// Output:
	// events.account-42
	// events.orders.eu.2026
	// events.a.%.b
	// events.100%25
	// tributary: invalid event stream name: space at byte 3: "two words"
}

func ExampleSubjects_StreamUUID() {
	subjects := tributary.Subjects{Prefix: "acme.events"}

	name, err := subjects.StreamUUID("acme.events.100%25")
	fmt.Println(name, err)

	_, err = subjects.StreamUUID("acme.invoices.7")
	fmt.Println(err)
	// Output:
	// 100% <nil>
	// tributary: subject is not one that Subject returns: "acme.invoices.7"
}

func ExampleSubjects_Under() {
	var subjects tributary.Subjects

	// What to subscribe to for orders.eu.1, orders.eu.2026.17 and so on.
	wildcard, err := subjects.Under("orders.eu")
	fmt.Println(wildcard, err)

	// Output:
	// events.orders.eu.> <nil>
}

package command_test

import (
	"fmt"

	"sluice/proxy/command"
)

func ExampleLookup() {
	c := command.Lookup([]byte("GET"))
	fmt.Println(c.Name, c.Arity, c.KeyAt, c.Is(command.ReadOnly|command.Fast))
	// Output: get 2 1 true
}

func ExampleCommand_AppendKeys() {
	args := [][]byte{[]byte("ZUNIONSTORE"), []byte("out"), []byte("2"), []byte("a"), []byte("b")}
	c := command.Resolve(args)
	keys, err := c.AppendKeys(nil, args)
	fmt.Println(keys, err)
	// Output: [1 3 4] <nil>
}

func ExampleErrUnknownCommand() {
	fmt.Println(command.ErrUnknownCommand([]byte("GTE"), [][]byte{[]byte("k")}))
	// Output: ERR unknown command 'GTE', with args beginning with: 'k'
}

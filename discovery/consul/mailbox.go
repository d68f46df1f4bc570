package consul

// mailbox holds the newest value that was not taken yet. It has one sender.
type mailbox[T any] chan T // capacity 1

func newMailbox[T any]() mailbox[T] { return make(mailbox[T], 1) }

// put replaces what is in the box. It never blocks.
func (m mailbox[T]) put(v T) {
	select {
	case <-m:
	default:
	}
	m <- v // There is room: nobody else sends.
}

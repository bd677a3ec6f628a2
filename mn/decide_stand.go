package mn

// SetBoth does nothing yet.
func (n *Node) SetBoth(bool) {}

// Package impair makes links of the lab bad: slow, lossy, narrow. It is there
// because not every kernel has netem.
//
// A link that is to be bad is no veth pair but two TAP devices, one in each
// namespace, and two goroutines of the lab that carry frames between them:
//
//	node's kernel ── TAP ── read ──> [Line] ── write, when due ── TAP ── node's kernel
//	                        classify   |
//	                                   +── lost, duplicated, refused: counted
//
// [Line] is pure: queue, draws and times of one direction. Of each frame it
// takes the same number of draws, so that with one seed the n-th frame always
// has the same fate. ARP is delayed, but nothing is drawn for it: it belongs to
// the Ethernet of the lab and not to the distance that the link stands for.
//
// A goroutine of a link keeps an operating system thread, asks for the highest
// priority below real-time, sleeps until an absolute time and never spins. How late it was with
// each frame is measured and reported. The devices last as long as the process.
//
// [Classifier] tells the lab's own traffic apart in every form it has on a link:
// plain, in IP-in-IP, and sealed in ESP, where the exact length tells. So a
// link can say how many datagrams of a flow it lost, and [Thief] can take
// markers out of a handover.
package impair

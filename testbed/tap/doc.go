// Package tap listens to interfaces of a lab's node.
//
// What is heard is what the kernel hands to an interface, just before its driver gets it, and what the driver hands to
// the kernel, before anybody else sees it. For a radio these are the two sides of the air: a frame that was handed to one
// radio and never came out of another was lost in between.
package tap

//! Tests of `flight`: readers of one call: who fetches, who goes on when one leaves or fails.

use super::*;
use futures_util::FutureExt;
use penstock_runtime::memory::Memory;
use penstock_schemas::envelope::Dialect;
use penstock_schemas::frame::Summary;
use penstock_schemas::name::{ProcessId, Target};
use penstock_schemas::usage::{Usage, UsageSource};
use std::sync::atomic::{AtomicBool, Ordering};

/// A call that says this, and notes when it is given up.
struct Scripted(VecDeque<Payload>, Arc<AtomicBool>);

impl Pieces for Scripted {
    fn next(&mut self) -> BoxFuture<'_, Result<Payload, Failure>> {
        let next = self.0.pop_front();
        async move {
            match next {
                Some(payload) => Ok(payload),
                None => std::future::pending().await,
            }
        }
        .boxed()
    }

    fn consumed(&mut self, _bytes: usize) {}
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.1.store(true, Ordering::Relaxed);
    }
}

fn place() -> Place {
    (CacheKey::of(&[b"a"]), Delivery::Stream)
}

fn id() -> RequestId {
    RequestId::parse("01900000-0000-7000-8000-000000000001").unwrap()
}

fn late_enough() -> UnixMicros {
    clock::now().after(std::time::Duration::from_secs(600))
}

fn end() -> Payload {
    let summary = Summary { usage: Usage::default(), usage_source: UsageSource::Unknown, cost: None };
    Payload::End(Box::new(Ended { head: None, summary }), Bytes::from_static(b"end"))
}

fn chunk(text: &'static str) -> Payload {
    Payload::Chunk(None, Bytes::from_static(text.as_bytes()))
}

fn begin(lead: Lead, script: Vec<Payload>, finish: Finish) -> (Reader, Arc<AtomicBool>) {
    let head = Head {
        worker: ProcessId::parse("w").unwrap(),
        target: Target::parse("alpha/m").unwrap(),
        dialect: Dialect::Openai,
        attempts: 1,
        dropped: Vec::new(),
        content_type: None,
        input_tokens: None,
        sent: None,
    };
    let is_over = Arc::new(AtomicBool::new(false));
    let pieces = Box::new(Scripted(script.into(), is_over.clone()));
    let begun = SharedStart { head, first: Bytes::from_static(b"first"), pieces, deadline: late_enough() };
    (lead.stream(begun, finish, Box::new(())), is_over)
}

fn lead(flights: &Flights, memory: &Memory) -> Lead {
    match flights.join(place(), id(), memory.none()) {
        FlightRole::Lead(lead) => lead,
        FlightRole::Follow(_) => panic!("another is under way"),
    }
}

async fn follow(flights: &Flights, memory: &Memory) -> Reader {
    let FlightRole::Follow(follower) = flights.join(place(), id(), memory.none()) else {
        panic!("nothing is under way")
    };
    match follower.wait(late_enough()).await {
        Ok(SharedAnswer::Stream(_, reader)) => reader,
        _ => panic!("it is a stream"),
    }
}

/// All that a reader gets, and how it ends.
async fn read(reader: &mut Reader) -> (String, bool) {
    let mut text = String::new();
    loop {
        match reader.next().await {
            Ok(Payload::Chunk(_, bytes)) => text += &String::from_utf8_lossy(&bytes),
            Ok(Payload::End(_, bytes)) => return (text + &String::from_utf8_lossy(&bytes), true),
            Ok(_) => {}
            Err(_) => return (text, false),
        }
    }
}

#[tokio::test]
async fn each_reads_all_of_a_stream_at_its_own_pace_and_it_is_kept_once() {
    let (flights, memory) = (Flights::default(), Memory::new(1 << 20));
    let kept = Arc::new(Mutex::new(Vec::new()));
    let keep = kept.clone();
    let finish: Finish = Box::new(move |pieces, _| keep.lock().unwrap().push(pieces.concat()));
    let script = vec![Payload::Alive, chunk(" second"), chunk(" third "), end()];
    let (mut first, is_over) = begin(lead(&flights, &memory), script, finish);
    let mut second = follow(&flights, &memory).await;
    let all = ("first second third end".to_owned(), true);
    assert_eq!(read(&mut second).await, all);
    assert!(is_over.load(Ordering::Relaxed), "the call is over when its end was read");
    assert_eq!(read(&mut first).await, all);
    assert_eq!(*kept.lock().unwrap(), [b"first second third end"]);
    assert!(matches!(flights.join(place(), id(), memory.none()), FlightRole::Lead(_)), "what is over is not joined");
}

#[tokio::test]
async fn a_call_goes_on_as_long_as_one_reads_and_no_longer() {
    let (flights, memory) = (Flights::default(), Memory::new(1 << 20));
    let (first, is_over) = begin(lead(&flights, &memory), vec![chunk(" more")], Box::new(|_, _| {}));
    let second = follow(&flights, &memory).await;
    drop(first);
    assert!(!is_over.load(Ordering::Relaxed));
    drop(second);
    assert!(is_over.load(Ordering::Relaxed), "the call is given up");
    assert!(flights.all().is_empty(), "nothing is left of it");
}

#[tokio::test]
async fn without_memory_a_stream_goes_to_who_fetches_it_and_is_not_kept() {
    let (flights, memory) = (Flights::default(), Memory::new(1024));
    let finish: Finish = Box::new(|_, _| panic!("it is not whole"));
    let (mut first, _) = begin(lead(&flights, &memory), vec![chunk(" a"), chunk(" b"), end()], finish);
    let mut second = follow(&flights, &memory).await;
    assert_eq!(read(&mut first).await, ("first a bend".to_owned(), true));
    assert_eq!(read(&mut second).await, (String::new(), false), "one that is behind is told");
}

#[tokio::test]
async fn those_who_wait_are_told_when_there_will_be_no_answer() {
    let (flights, memory) = (Flights::default(), Memory::new(1 << 20));
    for (ends, absent) in [(false, Absent::Left), (true, Absent::NotShared)] {
        let lead = lead(&flights, &memory);
        let FlightRole::Follow(follower) = flights.join(place(), id(), memory.none()) else {
            panic!("one is under way")
        };
        if ends {
            lead.alone();
        } else {
            drop(lead);
        }
        assert!(matches!(follower.wait(late_enough()).await, Ok(SharedAnswer::None(why)) if why == absent));
    }
}
